"""The order of work of a similarity job.

    work               the stages: fetch lists and images, then compare every pair
    image_sources      where the images of a document come from: a list, or the result of a detection job
    image_lists        a list ``{image name: image address}`` of a client app, read with care
    host_pools         threads for each server, so that a slow one delays no other
    documents          what is known of each document and its images, in the job's folder
    document_embedder  images of a document → embeddings, each computed once
    embedding_store    embeddings on disk: an array for each document, backbone and transposition
    pair_scores        best matches of two documents, in a cache that all jobs share

In: sources of images by document, a fetcher, an embedder. Out: a score file a pair in the job's folder.
"""
