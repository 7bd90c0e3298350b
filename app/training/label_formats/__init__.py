"""Formats of labels: what annotation tools export, as boxes in fractions of the page.

    yolo          ``LabelledBox``, ``ClassList``; text files, with one line for each illustration
    pixel_labels  labels in pixels: what the next formats share
    coco          JSON of COCO
    labelme       JSON of LabelMe
    label_xml     XML of Pascal VOC, CVAT and LabelMe

In: the content of a file, and its name for error messages. Out: ``LabelledBox`` for each illustration. ``yolo`` also
formats the label files of a data set. ``training/page_labels.py`` decides which format a file has.
"""
