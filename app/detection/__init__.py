"""Detection: weights files, the detector, and its results.

    weights              ``ModelStore``: find weights by name, load them without running their code
    weights_description  metadata of a weights file, read without torch
    checkpoint           a checkpoint file: its archive, its pickle, its tensors
    file_kinds           name a file that is not a checkpoint
    pickles              parse a pickle without running it
    permitted            allow list for checkpoints
    library              layers of the installed ultralytics, read without importing it
    projects             name checkpoints of other projects and tasks
    networks             build networks from checkpoints of ultralytics
    yolov5               build networks from checkpoints of the YOLOv5 repository
    trial                load weights in a subprocess and detect on a test page
    detector             ``Detector``: detect in batches, in several threads
    loading              load a detector, try its number format, keep it loaded
    precision            number formats of networks
    format_trials        results of the trials of number formats
    streams              threads that compute at the same time
    parts                cut pages into parts, for which the network sees enough pixels
    seams                merge the detections of overlapping parts
    boxes                ``Detections``: boxes, confidences, classes
    annotations          the detections of a job, as annotation file and as JSON

In: RGB arrays and a weights file. Out: ``Detections`` in pixels of the input image; the caller scales them.
"""
