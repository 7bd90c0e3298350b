"""The steps of each kind of job. Read these modules first: each ``work`` module shows a job from beginning to end.

    image_cache  the cached images of a manifest or a document; ``CircuitBreaker`` for servers that fail
    part_images  fetch the image of a page that is cut into parts

    detection/   manifest → images → boxes → annotation file
    similarity/  lists of images → embeddings → best matches of every pair
    search/      image → embedding → best matches among all documents of a client app
    training/    data set → epochs → new weights and their metrics

In: a request, folders, a fetcher, and a detector or an embedder. Out: files in the job's folder.

Progress is reported through a callback, which raises if the job was cancelled or moved to another worker. The pipelines
use neither Flask nor Celery, so each can be run from a Python prompt.
"""
