"""Training and evaluation of detection weights, and the data sets for both.

Data sets (run in the API process, without numpy):

    datasets         ``DatasetStore``: the data sets of each client app
    corrected_pages  a data set of the corrected pages of a detection job
    dataset_pages    sort the files of an archive into pages by split, and write them
    layouts          what the paths of files tell about pages, labels and splits
    page_index       find the page that a label file or an entry means
    page_labels      read the labels of an archive, in any format
    class_names      match the classes of labels with those of the data set
    dataset_yaml     parse the name and the classes of a data set
    dataset_records  a data set on disk: ``Dataset``, ``Split``
    image_check      decode every uploaded image in a subprocess
    label_formats/   labels in YOLO, COCO, LabelMe, Pascal VOC and CVAT format

Training:

    train            ``train``: train any weights of the store; resumes after an interruption
    trainer          subclasses of ultralytics' trainers
    averaging        the mean of the start weights and the new weights
    history          the completed epochs, one JSON line each
    comet            ``Tracker``: reports a training run to Comet; does nothing without the Comet settings
    card             the model card that is published with new weights

Evaluation:

    evaluate         detect on the pages of a split; write metrics, curve and comparison images
    labelled_page    one page: its pixels, its ground truth, its detections
    metrics          precision, recall and average precision
    intervals        95 % intervals of the metrics, over documents
    calibration      fit the confidences of new weights to the validation pages
    curves           precision-recall curve and training curves, as PNG
    comparison       images with the ground truth next to the detections

In: uploads (zip files, YAML), weights. Out: new weights with their model card; ``report.json`` and images.
"""
