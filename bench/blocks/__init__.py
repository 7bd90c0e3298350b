"""Prints of blocks: which images show the same block, and how well similarity and verification find them.

    labelled     records of labelled prints, and how they are loaded from a folder
    drawing      draw blocks, prints of them and copies, for readers without labelled prints
    descriptors  ways to describe an image by a vector: thumbnail, backbones, SSCD
    ranking      rank all images for each query, without and with verification
    pairs        classify labelled pairs: precision and recall of several scores, and their costs

``bench/retrieval.py`` puts them together.
"""
