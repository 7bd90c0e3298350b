"""The order of work of a detection job.

    work          the stages: fetch the manifest and the images, detect page by page, write the annotation file
    expansion     a collection → the addresses of its manifests
    page_images   decoded pixels of fetched pages, a batch ahead of the detector
    page_records  what is known of each canvas: one small file a canvas

In: a ``DetectionRequest``, a fetcher, a detector. Out: ``annotations.txt`` and ``.json`` in the job's folder.
"""
