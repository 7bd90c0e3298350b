"""Requests to train detection weights on a data set, and to test them on one."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from app.errors import RequestError
from app.jobs.requests.fields import check_label, check_optional_url

MOST_EPOCHS = 10_000
LONGEST_NAME = 80
LONGEST_START = 60
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class TrainingRequest:
    """Train new weights.

    Attributes:
        data: Name of the data set.
        epochs: Times that every page is seen.
        model: File name of the weights to start from; empty for the default.
        name: Stem of the new weights' file name; empty for one made of what was trained on what.
        notify_url: Address that is told of what becomes of the job; empty for none.
    """

    data: str
    epochs: int
    model: str = ""
    name: str = ""
    notify_url: str = ""

    kind: ClassVar[str] = "training"
    host: ClassVar[str] = ""

    @classmethod
    def from_form(cls, form: Mapping[str, str]) -> "TrainingRequest":
        """Validate the fields of a form."""
        return cls(
            data=read_dataset(form, "data"),
            epochs=_check_epochs(form.get("epochs", "")),
            model=check_label("model", form.get("model", "")),
            name=_check_name(form.get("name", "")),
            notify_url=check_optional_url("notify_url", form.get("notify_url", "")),
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def check_splits(self, there: Mapping[str, Any]) -> None:
        """Raise a sentence if a data set of such splits cannot be trained on."""
        for split, purpose in (("train", "to learn from"), ("val", "to hold the weights against")):
            if split not in there:
                has = ", ".join(there)
                raise RequestError(f"The data set {self.data} has no pages for {split}, {purpose}: it has {has}.")
            if not there[split].illustrations:
                raise RequestError(f"The pages for {split} of the data set {self.data} have no illustration.")

    def name_weights(self, start: str, job_id: str) -> list[str]:
        """Return file names for the new weights of a job that started from some; the last is its own."""
        # Weights that were trained from trained ones have longer and longer names, and a file's has an end.
        origin = re.sub("[^A-Za-z0-9_.-]", "-", start)[:LONGEST_START]
        spare = f"{self.name or f'{origin}_{self.data}'}_{job_id[:8]}.pt"
        return [f"{self.name}.pt", spare] if self.name else [spare]


@dataclass(frozen=True)
class EvaluationRequest:
    """Test weights on the labelled pages of a data set.

    Attributes:
        dataset: Its name.
        model: File name of the weights; empty for the default.
        split: Of the data set; empty for ``test``, or ``val`` where it has no ``test``.
        save_dir: Passed through: the name under which the client app keeps what came of it.
        notify_url: Address that is told of what becomes of the job; empty for none.
    """

    dataset: str
    model: str = ""
    split: str = ""
    save_dir: str = ""
    notify_url: str = ""

    kind: ClassVar[str] = "test"
    host: ClassVar[str] = ""

    @classmethod
    def from_form(cls, form: Mapping[str, str]) -> "EvaluationRequest":
        """Validate the fields of a form."""
        split = form.get("split", "").strip()
        if split not in ("", *SPLITS):
            raise RequestError(f"split must be one of {', '.join(SPLITS)}.")
        return cls(
            dataset=read_dataset(form, "dataset"),
            model=check_label("model", form.get("model", "")),
            split=split,
            save_dir=check_label("save_dir", form.get("save_dir", "")),
            notify_url=check_optional_url("notify_url", form.get("notify_url", "")),
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def choose_split(self, there: Collection[str]) -> str:
        """Return the split to be tested, of those that a data set has.

        Raises:
            RequestError: It is not there.
        """
        wanted = [self.split] if self.split else ["test", "val"]
        found = next((split for split in wanted if split in there), None)
        if found is None:
            raise RequestError(f"The data set {self.dataset} has no pages for {wanted[0]}: it has {', '.join(there)}.")
        return found


def read_dataset(form: Mapping[str, str], field: str) -> str:
    """Return the name of a data set, which may be given as that of its YAML file."""
    name = check_label(field, form.get(field, ""))
    if not name:
        raise RequestError(f"{field} is missing: send the name of a data set that GET /datasets lists.")
    return re.sub(r"\.ya?ml$", "", name)


def _check_epochs(value: str) -> int:
    if re.fullmatch("[0-9]{1,5}", value.strip()) and 1 <= int(value) <= MOST_EPOCHS:
        return int(value)
    raise RequestError(f"epochs must be a whole number from 1 to {MOST_EPOCHS}.")


def _check_name(value: str) -> str:
    name = check_label("name", value).removesuffix(".pt")
    if name and not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}", name):
        raise RequestError(f"name must be at most {LONGEST_NAME} letters, digits, dots, dashes and underscores.")
    return name
