"""Fields that several requests have. What cannot be used raises a sentence that names the field."""

import re
from urllib.parse import urlsplit

from app.errors import RequestError
from app.net.addresses import LONGEST_URL, read_host

LONGEST_LABEL = 200
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")


def check_optional_url(field: str, value: str) -> str:
    """Return a web address or nothing, or raise a sentence that names the field."""
    return check_url(field, value) if value.strip() else ""


def check_url(field: str, value: str) -> str:
    """Return a web address, or raise a sentence that names the field."""
    value = value.strip()
    shown = value if len(value) <= 100 else value[:100] + "…"
    try:
        parts = urlsplit(value)
        whole = parts.scheme in {"http", "https"} and bool(read_host(value)) and (parts.port or 1) > 0
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
