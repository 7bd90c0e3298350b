"""The order of work of each kind of job, a room a kind. Read these first: each ``work`` module is the story of a job.

    image_cache  the images of a manifest or a document on disk; when to stop asking a library that fails

    detection/   manifest → images → boxes → annotation file
    similarity/  lists of images → embeddings → best matches of every pair
    training/    data set → epochs → new weights with their figures

In: a request record, folders, a fetcher, a detector or an embedder. Out: files in the folder of the job, and progress
through a callback that raises when the job was taken away. Neither Flask nor Celery: each runs from a Python prompt.
"""
