"""Similarity: images → embeddings → scores of pairs.

    backbones             the networks that a request can name
    backbone_weights      find or download the weights of a backbone
    backbone_checkpoints  read a weights file without running it
    torchscript           load a TorchScript file, if it is the published one
    networks              build a backbone and load its weights
    preprocessing         images → input of a network
    transpositions        mirrored and rotated images
    embedder              ``Embedder``: load once, embed in batches
    matching              best matches between two documents, or within one
    tiled_products        cosine similarity matrix, tile by tile in bounded memory
    best_partners         running top-k of each image over the tiles
    exact_search          the rows of many documents that are most alike an image
    verification/         do two images show the same block, and where: ``verify``
    verified_pairs        verified pairs: records, and the file that holds them
    groups                verified pairs → groups of images that show the same block
    scores                scores of a pair of documents: stored in a file, returned as ``.npy``
    scored_pairs          pairs of images with score and verification: selected, returned as JSON or CSV

In: RGB arrays. Out: embeddings ``(n, d)`` float32, L2-normalised; ``Matches`` with cosine similarities in [-1, 1].
"""
