"""A request to find illustrations."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from app.errors import RequestError
from app.jobs.requests.fields import check_label, check_optional_url, check_url
from app.net.addresses import read_host

SMALLEST_IMAGE, LARGEST_IMAGE = 64, 100_000


@dataclass(frozen=True)
class DetectionRequest:
    """Find the illustrations on every canvas of a manifest.

    Attributes:
        manifest_url: Where the manifest is.
        model: File name of the weights; empty for the default.
        callback: Address that receives the annotation file; empty for the client app's own, if it has one.
        experiment_id: Passed through to the callback.
        image_size: Longer side of the images to ask for, in pixels, or ``full``; empty for the server's choice.
        notify_url: Address that is told of what becomes of the job; empty for none.
        refresh: Fetch every image anew, whatever is in the cache.
    """

    manifest_url: str
    model: str = ""
    callback: str = ""
    experiment_id: str = ""
    image_size: str = ""
    notify_url: str = ""
    refresh: bool = False

    kind: ClassVar[str] = "detection"

    @property
    def host(self) -> str:
        """The host of the manifest, in its one spelling."""
        return read_host(self.manifest_url)

    def choose_longest(self, default: int) -> int | None:
        """Return the longer side to ask for, in pixels; None for the full size."""
        return None if self.image_size == "full" else int(self.image_size or default)

    def for_manifests(self, urls: Iterable[str]) -> tuple[list["DetectionRequest"], dict[str, str]]:
        """Return the same request for other manifests, and why some addresses cannot be used."""
        good: list[DetectionRequest] = []
        bad: dict[str, str] = {}
        for url in urls:
            try:
                good.append(replace(self, manifest_url=check_url("manifest_url", url)))
            except RequestError as error:
                bad[url] = error.message
        return good, bad

    @classmethod
    def from_form(cls, form: Mapping[str, str], refresh: bool = False) -> "DetectionRequest":
        """Validate the fields of a form."""
        url = form.get("manifest_url", "")
        if not url.strip():
            raise RequestError("manifest_url is missing: send the address of a IIIF manifest.")
        return cls(check_url("manifest_url", url), *_read_options(form), refresh)

    @classmethod
    def from_list(cls, form: Mapping[str, str], text: str) -> tuple[list["DetectionRequest"], list["RefusedLine"]]:
        """Validate a list of manifests, one a line, for which the other fields of a form hold.

        Blank lines are passed over, and a line that stands twice counts once.

        Returns:
            The requests of the good lines, and the bad lines.
        """
        options = _read_options(form)
        good: dict[str, DetectionRequest] = {}
        bad: list[RefusedLine] = []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                if line.strip():
                    url = check_url("manifest_url", line)
                    good.setdefault(url, cls(url, *options))
            except RequestError as error:
                bad.append(RefusedLine(number, line.strip()[:200], error.message))
        return list(good.values()), bad

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class RefusedLine:
    """A line of a list that cannot be used: its number from 1, its beginning, and why."""

    line: int
    text: str
    message: str


def _read_options(form: Mapping[str, str]) -> tuple[str, str, str, str, str]:
    """Return model, callback, experiment_id, image_size and notify_url of a form."""
    return (
        check_label("model", form.get("model", "")),
        check_optional_url("callback", form.get("callback", "")),
        check_label("experiment_id", form.get("experiment_id", "")),
        check_image_size(form.get("image_size", "")),
        check_optional_url("notify_url", form.get("notify_url", "")),
    )


def check_image_size(value: str) -> str:
    """Return an image size as a request may name it: a number of pixels, ``full``, or nothing."""
    value = value.strip().lower()
    number = re.fullmatch("[0-9]{1,6}", value)
    if value in ("", "full") or (number and SMALLEST_IMAGE <= int(value) <= LARGEST_IMAGE):
        return value
    raise RequestError(
        "image_size must be «full» or the longer side in pixels, "
        f"a whole number from {SMALLEST_IMAGE} to {LARGEST_IMAGE}."
    )
