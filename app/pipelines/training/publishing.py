"""Publish new weights in the models folder. Without torch, so that the ``post`` worker needs little memory."""

from collections.abc import Sequence
from pathlib import Path

from app.detection.weights import Weights
from app.detection.weights_description import describe
from app.storage import JobFolder, lock_folder, write_atomic
from app.training.card import TrainingRun, format_card


def publish(folder: JobFolder, models: Path, names: Sequence[str], run: TrainingRun) -> str:
    """Write the new weights and their model card into the models folder. Repeated calls give the same result.

    The card is written first, so that no weights are without a card.

    Args:
        folder: Folder of the job.
        models: Models folder.
        names: File names in order of preference; the first that other weights do not use is taken. The last name
            belongs to this job alone and may be overwritten.
        run: Description of the training, for the card.

    Returns:
        File name of the published weights.
    """
    weights = describe(Weights.at(folder.weights))
    with lock_folder(models):
        digests = {name: Weights.at(models / name).digest() for name in names if (models / name).exists()}
        free = (name for name in names if digests.get(name, weights.sha256) == weights.sha256)
        name = next(free, names[-1])
        path = models / name
        write_atomic(path.with_suffix(".md"), format_card(name, weights, run).encode())
        if digests.get(name) != weights.sha256:
            write_atomic(path, folder.weights.read_bytes())
    return name


def withdraw(models: Path, name: str) -> None:
    """Remove published weights and their card; the weights first, so that no weights are without a card."""
    for path in (models / name, (models / name).with_suffix(".md")):
        path.unlink(missing_ok=True)
