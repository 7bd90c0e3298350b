"""Similarity: images → embeddings → scores of pairs.

    backbones             the networks that can be named in a request
    backbone_weights      find or download the weights of a backbone
    backbone_checkpoints  read a weights file without running it
    networks              build a backbone and fill it with its weights
    preprocessing         images → input of a network
    transpositions        mirrored and rotated images
    embedder              ``Embedder``: load once, embed in batches
    matching              the best matches between two documents, or within one
    tiled_products        the matrix of similarities, tile by tile in bounded memory
    best_partners         the best partners of each image, while tiles pass
    scores                the scores of a pair of documents: kept as a file, answered as ``.npy`` or JSON

In: RGB arrays. Out: embeddings ``(n, d)`` float32, L2-normalised; ``Matches`` with cosine similarities in [-1, 1].
"""
