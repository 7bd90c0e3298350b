"""A document's list as a client app serves it, ``{image name: image address}``, read with care."""

from typing import Any

from app.errors import RequestError
from app.jobs.requests.fields import check_url, explain_name
from app.jobs.requests.reading import JsonObject, parse_json, show
from app.pipelines.similarity.documents import ImageList, ListedImage

# Most images of a document. A comparison of two such documents computes 400 million scores.
MAX_IMAGES = 20_000


def parse_image_list(data: bytes, url: str, max_images: int) -> ImageList:
    """Read a list. An image that cannot be asked for is named in it, and so is why there is none.

    Args:
        data: What came.
        url: Where it came from.
        max_images: A longer list is refused.
    """
    advice = "check that it is the address of a list {image name: image address}."
    try:
        found = parse_json(data)
    except ValueError:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "not JSON"
        return ImageList(error=f"{url} is {shown}: {advice}")
    if not isinstance(found, JsonObject):
        return ImageList(error=f"{url} is JSON but not a list of images: {advice}")
    return check_length(_read_entries(found), url, max_images)


def check_length(images: ImageList, origin: str, max_images: int) -> ImageList:
    """Return a list, or why it cannot be used: it has nothing in it that can be asked for, or too much."""
    count = len(images.images) + len(images.failed)
    if count > max_images:
        return ImageList(error=f"{origin} has {count} images; at most {max_images} are accepted: split the document.")
    if images.images:
        return images
    if not images.failed:
        return ImageList(error=f"{origin} has no images.")
    name, reason = images.failed[0]
    error = f"{origin} has no image that can be asked for; the first of {count}, {show(name)}: {reason}"
    return ImageList(failed=images.failed, error=error)


def _read_entries(entries: JsonObject) -> ImageList:
    images, failed = [], []
    for name, value in entries.items():
        if reason := _explain_entry(name, value, entries):
            failed.append((name.encode("ascii", "backslashreplace").decode()[:200], reason))
        else:
            images.append(ListedImage(name, value.strip()))
    return ImageList(tuple(images), tuple(failed))


def _explain_entry(name: str, value: Any, entries: JsonObject) -> str:
    """Return why an image of a list cannot be asked for, or ""."""
    if fault := explain_name(name):
        return f"Its name {fault}."
    if name in entries.repeated:
        return "The list has two images of this name."
    if not isinstance(value, str):
        return "The list has no address for it."
    try:
        check_url("Its address", value)
    except RequestError as error:
        return error.message
    return "" if value.isprintable() else "Its address has characters that cannot be printed."
