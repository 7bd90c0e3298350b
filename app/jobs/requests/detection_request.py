"""Requests to detect illustrations: on one manifest, or on each manifest of a list."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema

from app.errors import RequestError
from app.jobs.requests.fields import Address, Callback, ExperimentId, Model, NotifyUrl, OneOf, OptionalAddress
from app.jobs.requests.reading import Request, explain, show
from app.net.addresses import read_host

SMALLEST_IMAGE, LARGEST_IMAGE = 64, 100_000
TILES = ("auto", "off")
DOCUMENT_URL = "The URL of a IIIF manifest or collection, a zip file of images, a PDF, or a list of image URLs."
_SIZES = f"a number of pixels from {SMALLEST_IMAGE} to {LARGEST_IMAGE}, or «full»"


def _check_image_size(value: str) -> str:
    value = value.lower()
    number = re.fullmatch("[0-9]{1,6}", value)
    if value in ("", "full") or (number and SMALLEST_IMAGE <= int(value) <= LARGEST_IMAGE):
        return value
    raise ValueError(f"must be {_SIZES}, not {show(value)}")


@dataclass(frozen=True, kw_only=True)
class DetectionOptions:
    """Options of detection requests. An empty field selects its default."""

    model: Model = ""
    callback: Annotated[
        Callback,
        Field(
            description="The URL that receives the annotation file, which is posted to <callback>/<manifest_ref>. "
            "Default: CLIENT_APP_URL/annotate, from the settings of the server."
        ),
    ] = ""
    experiment_id: ExperimentId = ""
    image_size: Annotated[
        str,
        Field(
            description=f"The longer side of the images to fetch, or of each part of a page that is cut: {_SIZES}. "
            "Boxes are always in pixels of the full-size image. Default: IMAGE_SIZE, from the settings of the server.",
            json_schema_extra={"pattern": "^([0-9]{2,6}|full)?$"},
        ),
        AfterValidator(_check_image_size),
    ] = ""
    tiles: Annotated[
        str,
        OneOf(TILES),
        Field(
            description="Whether very large pages are cut into parts, so that small illustrations are found: auto or "
            "off. Long and wide pages, such as scrolls, are always cut. Default: off."
        ),
    ] = ""
    notify_url: NotifyUrl = ""


@dataclass(frozen=True)
class ManifestForm(DetectionOptions):
    """Detect the illustrations on every page of a document at a URL. An empty field selects its default."""

    manifest_url: Annotated[Address, Field(description=DOCUMENT_URL)]


@dataclass(frozen=True)
class DetectionRequest(DetectionOptions, Request):
    """Detect the illustrations on every page of a document: one at a URL, or an uploaded file.

    Attributes:
        manifest_url: URL of the document; "" for an uploaded file.
        refresh: Whether to fetch all images again instead of using the cache.
        file_name: Name of the uploaded file.
        file_digest: Digest that identifies the content of the file.
    """

    manifest_url: Annotated[OptionalAddress, Field(description=DOCUMENT_URL)] = ""
    # Set by the route, not by clients.
    refresh: SkipJsonSchema[bool] = False
    file_name: SkipJsonSchema[str] = ""
    file_digest: SkipJsonSchema[str] = ""

    kind: ClassVar[str] = "detection"

    @property
    def host(self) -> str:
        return read_host(self.manifest_url)

    @property
    def origin(self) -> str:
        """The URL of the document, or a text that identifies an uploaded file: the key of its cached images."""
        return self.manifest_url or f"file {self.file_digest}"

    def choose_longest(self, default: int) -> int | None:
        """Return the longer side of the images to fetch, or of each part of a page; None for the full size."""
        return None if self.image_size == "full" else int(self.image_size or default)

    def for_manifests(self, urls: Iterable[str]) -> tuple[list["DetectionRequest"], dict[str, str]]:
        """Return the same request for other manifests, and an error message for each invalid URL."""
        good: list[DetectionRequest] = []
        bad: dict[str, str] = {}
        for url in urls:
            try:
                good.append(replace(self, manifest_url=url.strip(), file_name="", file_digest=""))
            except ValidationError as error:
                bad[url] = explain(error, ManifestForm)
        return good, bad

    @classmethod
    def from_form(cls, form: DetectionOptions, **values: Any) -> "DetectionRequest":
        """Return a request with the options of a form.

        Args:
            form: Form with the options.
            values: The other fields of the request.
        """
        return cls(**{field.name: getattr(form, field.name) for field in fields(DetectionOptions)}, **values)


def name_origin(request: Mapping[str, Any]) -> str:
    """Return the origin of a detection request in the row of its job: see :attr:`DetectionRequest.origin`."""
    return str(request["manifest_url"] or f"file {request['file_digest']}")


@dataclass(frozen=True)
class RefusedLine:
    """An invalid line of a list.

    Attributes:
        line: Line number, from 1.
        text: Beginning of the line.
        message: Error message.
    """

    line: int
    text: str
    message: str


def read_list(text: str, options: DetectionOptions, most: int) -> tuple[list[DetectionRequest], list[RefusedLine]]:
    """Return a request for each line of a list of manifests, and the invalid lines.

    Blank lines are ignored; repeated lines count once.

    Args:
        text: The list.
        options: Options of all requests.
        most: Largest number of lines, including the invalid ones.

    Raises:
        RequestError: The list is longer.
    """
    good: dict[str, DetectionRequest] = {}
    bad: list[RefusedLine] = []
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        url = line.strip()
        if not url or url in seen:
            continue
        seen.add(url)
        if len(seen) > most:
            raise RequestError(f"url_file has more than {most} lines: send at most {most} manifests at a time.")
        try:
            good[url] = DetectionRequest.from_form(options, manifest_url=url)
        except ValidationError as error:
            bad.append(RefusedLine(number, url[:200], explain(error, ManifestForm)))
    return list(good.values()), bad
