"""Requests to train detection weights on a data set, and to evaluate weights on one."""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, Strict
from pydantic.dataclasses import dataclass

from app.errors import RequestError
from app.jobs.requests.fields import FROM_TEXT, Label, Model, NotifyUrl, OneOf
from app.jobs.requests.reading import Request, show
from app.training.dataset_records import SPLITS

MOST_EPOCHS = 10_000
LONGEST_START = 60
LONGEST_WEIGHTS_NAME = 80
_WEIGHTS_NAME = rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_WEIGHTS_NAME - 1}}}"


def _check_weights_name(value: str) -> str:
    name = value.removesuffix(".pt")
    if name and not re.fullmatch(_WEIGHTS_NAME, name):
        limit = f"at most {LONGEST_WEIGHTS_NAME} letters, digits, dots, dashes and underscores"
        raise ValueError(f"must be {limit}, not {show(value)}")
    return name


# The name of a data set, which may be given as that of its YAML file.
DatasetName = Annotated[
    Label,
    Field(description="The name of a data set that GET /datasets lists."),
    AfterValidator(lambda name: re.sub(r"\.ya?ml$", "", name)),
]


@dataclass(frozen=True)
class TrainingRequest(Request):
    """Train new weights. An empty field stands for the default."""

    data: DatasetName
    epochs: Annotated[
        int, Strict(), Field(description="The number of times to see every page.", ge=1, le=MOST_EPOCHS), FROM_TEXT
    ]
    model: Annotated[Model, Field(description="Weights to start from; else this server's default.")] = ""
    name: Annotated[
        str,
        Field(
            description="Name of the new weights; else one made of the weights at the start and the data set.",
            json_schema_extra={"pattern": f"^({_WEIGHTS_NAME})?$"},
        ),
        AfterValidator(_check_weights_name),
    ] = ""
    notify_url: NotifyUrl = ""

    kind: ClassVar[str] = "training"

    def check_splits(self, there: Mapping[str, Any]) -> None:
        """Check that a data set has what a training needs.

        Args:
            there: The splits of the data set.

        Raises:
            RequestError: It does not.
        """
        for split, purpose in (("train", "to learn from"), ("val", "to evaluate the weights on")):
            if split not in there:
                has = ", ".join(there)
                raise RequestError(f"The data set {self.data} has no pages for {split}, {purpose}: it has {has}.")
            if not there[split].illustrations:
                raise RequestError(f"The pages for {split} of the data set {self.data} have no illustration.")

    def name_weights(self, start: str, job_id: str) -> list[str]:
        """Return file names for the new weights of a job, the preferred one first; the last belongs to this job only.

        Args:
            start: Label of the weights at the start.
            job_id: ID of the job.
        """
        # Weights that were trained from trained ones have longer and longer names; a file's name is limited.
        origin = re.sub("[^A-Za-z0-9_.-]", "-", start)[:LONGEST_START]
        spare = f"{self.name or f'{origin}_{self.data}'}_{job_id[:8]}.pt"
        return [f"{self.name}.pt", spare] if self.name else [spare]


@dataclass(frozen=True)
class EvaluationRequest(Request):
    """Evaluate weights on the labelled pages of a data set. An empty field stands for the default."""

    dataset: DatasetName
    model: Model = ""
    split: Annotated[
        str,
        OneOf(SPLITS),
        Field(description="Pages to detect on; else those for test, or for val where there are none."),
    ] = ""
    save_dir: Annotated[Label, Field(description="Passed through: the client app's name for the result.")] = ""
    notify_url: NotifyUrl = ""

    kind: ClassVar[str] = "test"

    def choose_split(self, there: Collection[str]) -> str:
        """Return the split to evaluate on.

        Args:
            there: The splits of the data set.

        Raises:
            RequestError: The split is not there.
        """
        wanted = [self.split] if self.split else ["test", "val"]
        found = next((split for split in wanted if split in there), None)
        if found is None:
            raise RequestError(f"The data set {self.dataset} has no pages for {wanted[0]}: it has {', '.join(there)}.")
        return found
