"""The order of work of a training.

    work        learn epoch by epoch, then evaluate the new weights
    publishing  put new weights with their card into the model store; without torch, for the ``post`` worker

In: a data set in the job's folder, weights to start from. Out: new weights, ``history.jsonl``, figures and pictures.
"""
