"""Detection: weights files, the detector, and its results.

    weights              ``ModelStore``: find weights by name, load them without running their code
    weights_description  what a weights file holds, read without torch
    checkpoint           a checkpoint file: its archive, its pickle, its tensors
    pickles              read a pickle without running it
    permitted            which checkpoints may be loaded
    yolov5               networks from checkpoints of the YOLOv5 repository
    trial                load weights in a process of its own, and detect on one page
    detector             ``Detector``: load once, detect in batches
    boxes                ``Detections``: boxes, confidences, classes
    annotations          the annotation file of a job, as text and as JSON

In: RGB arrays and a weights file. Out: ``Detections`` in pixels of the image that was given, scaled by the caller.
"""
