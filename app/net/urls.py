"""URLs as they are sent: what a URL may not contain is percent-encoded, and everything else stays as it is.

URLs come from client apps, manifests, lists and redirects. Browsers accept spaces, accents and international host
names in them, so libraries publish them. All requests and all checks of URLs use :func:`make_requestable`.
"""

import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from app.errors import quote_text
from app.net.addresses import LONGEST_URL, spell_name

# A % that starts no escape, and each character that https://www.rfc-editor.org/rfc/rfc3986#appendix-A excludes.
_ENCODED = re.compile(r'%(?![0-9A-Fa-f]{2})|[^!-~]|["<>\[\\\]^`{|}]')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r'(\[[0-9a-f:.%a-z]+\]|[^\x00-\x20\x7f-\U0010ffff"#%/<>?@\[\\\]^`{|}]+)')
_LONGEST_LABEL = 63  # limit of the DNS


def make_requestable(url: str) -> str:
    """Return a URL that can be requested. Escapes in the URL are kept, including those of escapes (``%2520``).

    ======================================  =====================================================
    in the URL                              result
    ======================================  =====================================================
    space, accent, bracket, backslash, …    percent-encoded (UTF-8)
    ``%`` that starts no escape             ``%25``
    international host name                 ASCII (IDNA)
    ``.`` and ``..`` as path segments       resolved
    fragment                                removed, because it is never sent
    ======================================  =====================================================

    >>> make_requestable("https://Bücher.example/é 100%/a%2fb")
    'https://xn--bcher-kva.example/%C3%A9%20100%25/a%2fb'

    Raises:
        ValueError: It is not a web address: another scheme, no valid host or port, or control characters.
    """
    try:
        return _spell(url.strip())
    except ValueError as error:
        raise ValueError("not a web address") from error


def _spell(url: str) -> str:
    parts = urlsplit(url)
    host = spell_name(parts.hostname or "")
    if _CONTROL.search(url) or parts.scheme not in {"http", "https"} or "\\" in parts.netloc or parts.port == 0:
        raise ValueError("no URL of http or https")
    if not _HOST.fullmatch(host) or any(len(label) > _LONGEST_LABEL for label in host.split(".")):
        raise ValueError("no valid host")
    user = parts.netloc.rpartition("@")[0]
    port = "" if parts.port is None else f":{parts.port}"
    place = f"{_encode(user)}@{host}{port}" if user else f"{host}{port}"
    return urlunsplit((parts.scheme, place, _encode(_resolve_dots(parts.path)), _encode(parts.query), ""))


def explain_address(url: str) -> str:
    """Return why a URL from a request or a list is invalid, such as "is not a web address"; "" if it is valid."""
    try:
        requestable = make_requestable(url)
    except ValueError:
        # It may contain a password that is not percent-encoded.
        named = "" if "@" in url else f": {quote_text(url)}"
        return f"is not a web address{named}; send one that starts with http:// or https://"
    if len(requestable) > LONGEST_URL:
        return f"is longer than {LONGEST_URL} characters when it is percent-encoded"
    return "must not contain a user name or a password" if "@" in urlsplit(url).netloc else ""


def resolve_location(url: str, location: str) -> str:
    """Return the target of a redirect.

    Args:
        url: URL that was requested.
        location: Header ``Location`` as the HTTP library reads it: each character stands for one byte.

    Raises:
        ValueError: The target is not a web address.
    """
    # The encoding of the bytes is unknown. Browsers send them back unchanged.
    target = re.sub("[\x80-\xff]", lambda byte: f"%{ord(byte[0]):02X}", location.strip())
    try:
        return _spell(urljoin(url, target))
    except ValueError as error:
        raise ValueError("not a web address") from error


def _encode(text: str) -> str:
    return _ENCODED.sub(lambda found: quote(found[0], safe=""), text)


def _resolve_dots(path: str) -> str:
    """Resolve ``.`` and ``..``, as https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4 requires."""
    if "/." not in path:
        return path
    kept: list[str] = []
    *folders, last = path.split("/")
    for part in [*folders, *([last, ""] if last in (".", "..") else [last])]:
        if part == "..":
            del kept[max(1, len(kept) - 1) :]  # the empty part before the first slash stays
        elif part != ".":
            kept.append(part)
    return "/".join(kept)
