"""The steps of a search for an image in the documents that a client app has compared.

    query_image  the image to search for: fetch it, decode it
    collection   the documents to search in, and their embeddings
    work         embed the image, find the best matches, verify them

In: an image, the rows of documents, an embedder. Out: the matches as JSON in the job's folder.
"""
