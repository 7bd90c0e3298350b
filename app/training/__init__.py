"""Training and evaluation of detection weights, and the data sets for both.

Data sets, in the process of the API, without numpy:

    datasets         ``DatasetStore``: the data sets of each client app
    archives         open a zip file from outside, checked
    dataset_pages    files of an archive → pages by split
    dataset_yaml     the name and the classes that a client app gives a data set
    dataset_records  a data set on disk: ``Dataset``, ``Split``
    labels           check and write label files
    image_check      decode every image of an upload, in a process of its own

Training:

    train            ``train``: from any weights of the store, continued after an interruption
    trainer          subclasses of ultralytics' trainers
    history          the epochs so far, one JSON line each
    tracking         ``Tracker``: what a training reports; nothing without the two Comet variables
    comet            the tracker that sends to Comet
    card             the page of text that is published with new weights

Evaluation:

    evaluate         detect on the pages of a split, and write figures, curve and comparison images
    labelled_page    a page: its pixels, its true boxes, its detections
    metrics          precision, recall and average precision
    curves           precision over recall, and the epochs of a training, as PNG
    comparison       pages with true boxes next to detections

In: uploads (zip files, YAML), weights. Out: new weights with their card; ``report.json`` and images.
"""
