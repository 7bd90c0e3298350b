"""Parse the list of images of a document, ``{image name: image URL}``, as a client app serves it."""

from typing import Any

from app.errors import RequestError
from app.jobs.requests.fields import check_url, explain_name
from app.jobs.requests.reading import JsonObject, parse_json, show
from app.pipelines.similarity.documents import ImageList, ListedImage

# Largest number of images of a document. Comparing two such documents computes 400 million scores.
MAX_IMAGES = 20_000


def parse_image_list(data: bytes, url: str, max_images: int) -> ImageList:
    """Parse a list. Invalid entries and errors become part of the result; nothing is raised.

    Args:
        data: JSON document.
        url: URL from which the list was fetched; named in errors.
        max_images: Largest number of entries that is accepted.
    """
    advice = "check that it is the URL of a list {image name: image URL}."
    try:
        found = parse_json(data)
    except ValueError:
        shown = "an HTML page" if data.lstrip()[:1] == b"<" else "not JSON"
        return ImageList(error=f"{url} is {shown}: {advice}")
    if not isinstance(found, JsonObject):
        return ImageList(error=f"{url} is JSON but not a list of images: {advice}")
    return check_length(_read_entries(found), url, max_images)


def check_length(images: ImageList, origin: str, max_images: int) -> ImageList:
    """Return the list, or a list with an error if it has too many images or no usable one."""
    count = len(images.images) + len(images.failed)
    if count > max_images:
        return ImageList(error=f"{origin} has {count} images; at most {max_images} are accepted: split the document.")
    if images.images:
        return images
    if not images.failed:
        return ImageList(error=f"{origin} has no images.")
    name, reason = images.failed[0]
    error = f"{origin} has no usable image; the first of {count}, {show(name)}: {reason}"
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
    """Return the reason why an entry of a list is invalid, or ""."""
    if fault := explain_name(name):
        return f"Its name {fault}."
    if name in entries.repeated:
        return "The list has two images with this name."
    if not isinstance(value, str):
        return "The list has no URL for this image."
    try:
        check_url("Its URL", value)
    except RequestError as error:
        return error.message
    return ""
