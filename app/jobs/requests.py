"""What client apps may ask for, as validated records.

A record exists only when every field in it can be used: making one from a form raises
:class:`~app.errors.RequestError` with a sentence that names the field.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from app.errors import RequestError

LONGEST_URL = 4096
LONGEST_LABEL = 200
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True)
class DetectionRequest:
    """Find the illustrations on every canvas of a manifest.

    Attributes:
        manifest_url: Where the manifest is.
        model: File name of the weights; empty for the default.
        callback: Address that receives the annotation file; empty for the client app's own, if it has one.
        experiment_id: Passed through to the callback.
        refresh: Fetch every image anew, whatever is in the cache.
    """

    manifest_url: str
    model: str = ""
    callback: str = ""
    experiment_id: str = ""
    refresh: bool = False

    @classmethod
    def from_form(
        cls, form: Mapping[str, str], manifest_url: str | None = None, refresh: bool = False
    ) -> "DetectionRequest":
        """Validate the fields of a form; a line of a list may stand for ``manifest_url``."""
        url = form.get("manifest_url", "") if manifest_url is None else manifest_url
        if not url.strip():
            raise RequestError("manifest_url is missing: send the address of a IIIF manifest.")
        callback = form.get("callback", "").strip()
        return cls(
            manifest_url=check_url("manifest_url", url),
            model=check_label("model", form.get("model", "")),
            callback=check_url("callback", callback) if callback else "",
            experiment_id=check_label("experiment_id", form.get("experiment_id", "")),
            refresh=refresh,
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def check_url(field: str, value: str) -> str:
    """Return a web address, or raise a sentence that names the field."""
    value = value.strip()
    shown = value if len(value) <= 100 else value[:100] + "…"
    try:
        parts = urlsplit(value)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if not whole or _UNPRINTABLE.search(value):
        raise RequestError(f"{field} is not a web address: {shown!r}; send one that starts with http:// or https://.")
    if len(value) > LONGEST_URL:
        raise RequestError(f"{field} is too long: an address has at most {LONGEST_URL} characters.")
    if parts.username or parts.password:
        raise RequestError(f"{field} must not contain a user name or a password.")
    return value


def check_label(field: str, value: str) -> str:
    """Return a short line of text, or raise a sentence that names the field."""
    value = value.strip()
    if len(value) > LONGEST_LABEL or re.search(r"[\x00-\x1f\x7f]", value):
        raise RequestError(f"{field} must be one line of at most {LONGEST_LABEL} characters.")
    return value
