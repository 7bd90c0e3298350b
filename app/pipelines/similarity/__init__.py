"""The steps of a similarity job.

    download           fetch the lists and the images of all documents
    comparison         embed the images, compare every pair of documents, verify the best matches
    image_sources      sources of the images of a document; the illustrations of a detection job
    document_source    the whole pages of a document, or crops of them
    crops              fetch a crop from the image service, or cut it from the page
    host_pools         a thread pool for each host, so that a slow host does not delay the others
    documents          the records of each document and its images, in the job's folder
    document_embedder  images of a document → embeddings, each computed once
    embedding_store    embeddings on disk: one array for each document, backbone and transposition
    pair_scores        best matches of two documents, in a cache that all jobs share
    feature_store      local features on disk: one file for each image file
    pair_verifier      verified pairs of images of two documents, in a cache that all jobs share

In: an image source for each document, a fetcher, an embedder. Out: one score file per pair in the job's folder, and one
file with verified pairs of images.
"""
