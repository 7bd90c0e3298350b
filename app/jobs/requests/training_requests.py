"""Requests to train detection weights on a data set, and to evaluate weights on a data set."""

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


# The name of a data set. The name of its YAML file is accepted too.
DatasetName = Annotated[
    Label,
    Field(description="The name of a data set, as listed by GET /datasets."),
    AfterValidator(lambda name: re.sub(r"\.ya?ml$", "", name)),
]


@dataclass(frozen=True)
class TrainingRequest(Request):
    """Train new weights. An empty field selects its default."""

    data: DatasetName
    epochs: Annotated[
        int,
        Strict(),
        Field(description="The number of epochs (passes over the pages for train).", ge=1, le=MOST_EPOCHS),
        FROM_TEXT,
    ]
    model: Annotated[
        Model,
        Field(description="The initial weights, as listed by GET /models. Default: those of GET /models/default."),
    ] = ""
    name: Annotated[
        str,
        Field(
            description="The name of the new weights. "
            "Default: a name made of the initial weights, the data set and the job ID.",
            json_schema_extra={"pattern": f"^({_WEIGHTS_NAME})?$"},
        ),
        AfterValidator(_check_weights_name),
    ] = ""
    notify_url: NotifyUrl = ""

    kind: ClassVar[str] = "training"

    def check_splits(self, splits: Mapping[str, Any]) -> None:
        """Check that a data set has pages and illustrations for ``train`` and for ``val``.

        Args:
            splits: Splits of the data set, by name.

        Raises:
            RequestError: A split is missing, or has no illustrations.
        """
        for split, purpose in (("train", "to learn from"), ("val", "to evaluate the weights on")):
            if split not in splits:
                has = ", ".join(splits)
                raise RequestError(f"The data set {self.data} has no pages for {split}, {purpose}: it has {has}.")
            if not splits[split].illustrations:
                raise RequestError(f"The pages for {split} of the data set {self.data} have no illustration.")

    def name_weights(self, start: str, job_id: str) -> list[str]:
        """Return possible file names for the new weights, the preferred one first. The last one is unique to the job.

        Args:
            start: Label of the initial weights.
            job_id: ID of the job.
        """
        # The name would grow with each training that starts from trained weights, and file names have a maximum length.
        origin = re.sub("[^A-Za-z0-9_.-]", "-", start)[:LONGEST_START]
        spare = f"{self.name or f'{origin}_{self.data}'}_{job_id[:8]}.pt"
        return [f"{self.name}.pt", spare] if self.name else [spare]


@dataclass(frozen=True)
class EvaluationRequest(Request):
    """Evaluate weights on the labelled pages of a data set. An empty field selects its default."""

    dataset: DatasetName
    model: Model = ""
    split: Annotated[
        str,
        OneOf(SPLITS),
        Field(description="The pages to evaluate on. Default: test, or val if the data set has no pages for test."),
    ] = ""
    save_dir: Annotated[Label, Field(description="Any name for the result. GET /jobs/<id> returns it unchanged.")] = ""
    notify_url: NotifyUrl = ""

    kind: ClassVar[str] = "test"

    def choose_split(self, splits: Collection[str]) -> str:
        """Return the split to evaluate on.

        Args:
            splits: Names of the splits of the data set.

        Raises:
            RequestError: The data set does not have the split.
        """
        wanted = [self.split] if self.split else ["test", "val"]
        found = next((split for split in wanted if split in splits), None)
        if found is None:
            raise RequestError(f"The data set {self.dataset} has no pages for {wanted[0]}: it has {', '.join(splits)}.")
        return found
