"""Detection: weights files, the detector, and its results.

    weights              ``ModelStore``: find weights by name, load them without running their code
    weights_description  metadata of a weights file, read without torch
    trial                load weights in a subprocess and detect on a test page
    detector             ``Detector``: detect in batches, in several threads
    voting               the mean of overlapping boxes, for weights that ask for it
    engines              a network in torch or OpenVINO
    openvino_network     convert a network, and run it with OpenVINO
    loading              load a detector, try its runtimes, keep it loaded
    precision            number formats, and the runtimes of a device
    runtime_trials       trials of runtimes: sample pages, stored results
    streams              base class of networks that compute several batches at the same time
    parts                cut pages into parts, for which the network sees enough pixels
    seams                merge the detections of overlapping parts
    boxes                ``Detections``: boxes, confidences, classes
    annotations          records of a result: pages with their detections
    corrections          boxes that a person has drawn in place of the detections

    weights_files/       parse checkpoints without running their code, and build their networks

In: RGB arrays and a weights file. Out: ``Detections`` in pixels of the input image; the caller scales them.
"""
