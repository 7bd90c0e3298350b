"""New weights, and how they come into the model store. Here without torch: what delivers is to stay small."""

from collections.abc import Sequence
from pathlib import Path

from app.detection.weights import Weights
from app.detection.weights_description import describe
from app.storage import JobFolder, lock_folder, write_atomic
from app.training.card import TrainingRun, format_card


def publish(folder: JobFolder, models: Path, names: Sequence[str], run: TrainingRun) -> str:
    """Put the new weights and their card into the model store, under the first of some names that others have not.

    The last is the job's own, whatever it has published under it before. The card comes first, so that no weights are
    without. Called again, it finds what it has published.
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
    """Take what was published out of the model store: the weights first, so that none are without a card."""
    for path in (models / name, (models / name).with_suffix(".md")):
        path.unlink(missing_ok=True)
