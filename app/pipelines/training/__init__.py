"""The steps of a training job.

    work        train epoch by epoch, then evaluate the new weights
    publishing  publish the new weights and their model card; does not import torch

In: a data set in the job's folder, and start weights. Out: new weights, ``history.jsonl``, metrics and pictures.
"""
