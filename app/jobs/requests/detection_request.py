"""Requests to find illustrations: of one manifest, or of each manifest of a list."""

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema

from app.jobs.requests.fields import Address, ExperimentId, Model, NotifyUrl, OptionalAddress
from app.jobs.requests.reading import Request, explain, show
from app.net.addresses import read_host

SMALLEST_IMAGE, LARGEST_IMAGE = 64, 100_000
_SIZES = f"a number of pixels from {SMALLEST_IMAGE} to {LARGEST_IMAGE}, or «full»"


def _check_image_size(value: str) -> str:
    value = value.lower()
    number = re.fullmatch("[0-9]{1,6}", value)
    if value in ("", "full") or (number and SMALLEST_IMAGE <= int(value) <= LARGEST_IMAGE):
        return value
    raise ValueError(f"must be {_SIZES}, not {show(value)}")


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """What a client may say of any detection. An empty field stands for the default."""

    model: Model = ""
    callback: Annotated[
        OptionalAddress, Field(description="The address that receives the result, in place of CLIENT_APP_URL/annotate.")
    ] = ""
    experiment_id: ExperimentId = ""
    image_size: Annotated[
        str,
        Field(
            description=f"Longer side of the images to ask for: {_SIZES}.",
            json_schema_extra={"pattern": "^([0-9]{2,6}|full)?$"},
        ),
        AfterValidator(_check_image_size),
    ] = ""
    notify_url: NotifyUrl = ""


@dataclass(frozen=True)
class DetectionRequest(DetectionOptions, Request):
    """Find the illustrations on every canvas of a manifest.

    ``refresh`` fetches every image again, whatever is in the cache; the route decides it, not a field.
    """

    manifest_url: Annotated[Address, Field(description="The address of a IIIF manifest, or of a IIIF collection.")]
    refresh: SkipJsonSchema[bool] = False

    kind: ClassVar[str] = "detection"

    @property
    def host(self) -> str:
        return read_host(self.manifest_url)

    def choose_longest(self, default: int) -> int | None:
        """Return the longer side to ask for, in pixels; None for the full size."""
        return None if self.image_size == "full" else int(self.image_size or default)

    def for_manifests(self, urls: Iterable[str]) -> tuple[list["DetectionRequest"], dict[str, str]]:
        """Return the same request for other manifests, and the reason for each address that cannot be used."""
        good: list[DetectionRequest] = []
        bad: dict[str, str] = {}
        for url in urls:
            try:
                good.append(replace(self, manifest_url=url.strip()))
            except ValidationError as error:
                bad[url] = explain(error, DetectionRequest)
        return good, bad


@dataclass(frozen=True)
class RefusedLine:
    """A line of a list that cannot be used: its number from 1, its beginning, and the reason."""

    line: int
    text: str
    message: str


def read_list(text: str, options: DetectionOptions) -> tuple[list[DetectionRequest], list[RefusedLine]]:
    """Return a request for each line of a list of manifests, and the lines that cannot be used.

    Blank lines are passed over; a line that is there twice counts once.
    """
    shared = {field.name: getattr(options, field.name) for field in fields(DetectionOptions)}
    good: dict[str, DetectionRequest] = {}
    bad: list[RefusedLine] = []
    for number, line in enumerate(text.splitlines(), 1):
        if url := line.strip():
            try:
                good.setdefault(url, DetectionRequest(url, **shared))
            except ValidationError as error:
                bad.append(RefusedLine(number, url[:200], explain(error, DetectionRequest)))
    return list(good.values()), bad
