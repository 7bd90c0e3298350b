"""The steps of a detection job.

    work           fetch the manifest and the images, detect in batches, write the annotation files
    page_fetching  fetch the images of all pages in several threads
    ahead          detect pages while the job still downloads
    cutting        cut pages into the parts that the detector gets, merge their detections
    expansion      a collection → the URLs of its manifests
    pages          the records of canvases; the pixels of fetched pages

In: a ``DetectionRequest``, a fetcher, a detector. Out: ``annotations.txt`` and ``.json`` in the job's folder.
"""
