"""Weights files: parse a checkpoint without running its code, and build its network.

    checkpoint  a checkpoint file: its archive, its pickle, its tensors
    pickles     parse a pickle without running it
    permitted   allow list for checkpoints
    library     layers of the installed ultralytics, read without importing it
    networks    build networks from checkpoints of ultralytics
    yolov5      build networks from checkpoints of the YOLOv5 repository

In: a ``.pt`` file. Out: its records, without torch (``checkpoint``), or its network (``networks``, ``yolov5``). A file
that cannot be used raises ``WeightsError`` with the reason. ``detection/weights.py`` has the steps in their order.
"""
