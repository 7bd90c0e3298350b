"""The order of work of a detection job.

    work       the stages: fetch the manifest and the images, detect page by page, write the annotation file
    expansion  a collection → the addresses of its manifests
    pages      what is known of each canvas, one small file a canvas; the pixels of fetched pages

In: a ``DetectionRequest``, a fetcher, a detector. Out: ``annotations.txt`` and ``.json`` in the job's folder.
"""
