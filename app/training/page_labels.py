"""Read the labels of an upload, in any supported format, and give them to its pages.

A page has its own label file, or an entry in a file for many images. For a page with several, the first counts:

    <page>.txt                   YOLO
    <page>.json, <page>.xml      LabelMe, Pascal VOC
    COCO JSON, CVAT XML          files for many images; they are not read if the archive has YOLO labels
"""

import json
from collections.abc import Sequence
from typing import Any

from app.errors import RequestError, TooLarge
from app.storage.archives import Archive, Member
from app.training.class_names import ClassLists, is_class_list
from app.training.label_formats.coco import is_coco, parse_coco
from app.training.label_formats.label_xml import parse_xml
from app.training.label_formats.labelme import is_labelme, parse_labelme
from app.training.label_formats.pixel_labels import AnnotatedImage
from app.training.label_formats.yolo import ClassList, looks_like_labels, parse_labels
from app.training.layouts import LAYOUT, find_list_split, find_split, is_leftover, name_split
from app.training.page_index import Draft, PageIndex

_MOST_LABEL_BYTES = 1_000_000
# A JSON document takes about ten times its size in memory.
_MOST_DOCUMENT_BYTES = 50_000_000


def read_splits(archive: Archive, pages: PageIndex) -> None:
    """Assign splits to pages that are in no folder of a split, from lists such as ``train.txt`` (darknet, VOC)."""
    unknown = {page for page in pages.pages if not page.split}
    for member in _list_members(archive, ".txt") if unknown else ():
        split = name_split(member.path.stem)
        if not split or pages.find(member.path, member.path.stem) or member.size > _MOST_DOCUMENT_BYTES:
            continue
        for line in member.read().decode("utf-8-sig", errors="replace").splitlines():
            page = pages.find_by_name(line.strip()) if line.strip() else None
            if page in unknown:
                page.assign(split, str(member.path))


def read_labels(archive: Archive, pages: PageIndex, classes: ClassList, only: str = "") -> None:
    """Read all labels of an archive.

    Args:
        archive: The archive with the labels.
        pages: Pages that receive the labels.
        classes: Classes of the data set.
        only: The split of all pages; "" if the archive decides.

    Raises:
        RequestError: If a label is invalid or has no page.
        TooLarge: If a file is too large, or there are too many boxes.
    """
    alone = _read_yolo(archive, pages, ClassLists(archive, classes), only)
    has_yolo = any(page.boxes is not None for page in pages.pages)
    documents = _list_members(archive, ".json", ".xml")
    own = [(member, page) for member in documents if (page := _find_page(member, pages, only))]
    for member, page in own:
        images = _parse(member) if page.boxes is None else []
        if len(images) == 1:
            pages.add_boxes(page, images[0].boxes)
            page.label = str(member.path)
        if len(images) < 2:
            documents.remove(member)
    if not has_yolo:
        alone += _read_documents(documents, pages, only)
    if alone:
        more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise RequestError(
            f"These labels have no image with the same name in the same split: {', '.join(alone[:3])}{more}; "
            f"add the images or remove the labels{'' if only else f'; {LAYOUT}'}."
        )


def _read_yolo(archive: Archive, pages: PageIndex, lists: ClassLists, only: str) -> list[str]:
    """Read YOLO label files; return the names of those without a page."""
    alone = []
    for member in _list_members(archive, ".txt"):
        page = None if is_class_list(member.path) else _find_page(member, pages, only)
        if page is None:
            if not is_class_list(member.path) and member.size <= _MOST_LABEL_BYTES and looks_like_labels(member.read()):
                alone.append(str(member))
            continue
        if page.boxes is not None:
            raise RequestError(f"{page.label} and {member} would be the labels of the same page: remove one of them.")
        if member.size > _MOST_LABEL_BYTES:
            raise TooLarge(f"{member} is too large: a label file has at most {_MOST_LABEL_BYTES / 1e6:g} MB.")
        pages.add_boxes(page, parse_labels(member.read(), str(member), lists.find(member.path)))
        page.label = str(member.path)
        page.assign("" if only else find_split(member.path), str(member.path.parent))
    return alone


def _read_documents(documents: Sequence[Member], pages: PageIndex, only: str) -> list[str]:
    """Read files for many images; return the names of images that are not in the upload."""
    main = {member.path.parent for member in documents if member.path.name.lower().startswith("instances")}
    chosen = [m for m in documents if m.path.parent not in main or m.path.name.lower().startswith("instances")]
    splits = {m.path: find_list_split(m.path) or find_split(m.path) for m in chosen}
    if only in splits.values():
        chosen = [member for member in chosen if splits[member.path] in ("", only)]
    alone = []
    for member in chosen:
        split = "" if only else splits[member.path]
        for image in _parse(member):
            page = pages.find_by_name(image.file_name, split)
            if page is None:
                if other := pages.find_by_name(image.file_name):
                    other.assign(split, str(member.path))  # raises an error that names both splits
                alone.append(f"{image.file_name[:100]!r} of {member}")
                continue
            page.assign(split, str(member.path))
            pages.add_boxes(page, image.boxes)
    return alone


def _parse(member: Member) -> list[AnnotatedImage]:
    """Return the labels in a JSON or XML file; [] if it is none of an annotation tool."""
    if member.size > _MOST_DOCUMENT_BYTES:
        raise TooLarge(
            f"{member} is too large: a JSON or XML file has at most {_MOST_DOCUMENT_BYTES / 1e6:g} MB; "
            "split it, or leave out the image data."
        )
    if member.path.suffix.lower() == ".xml":
        return parse_xml(member.read(), str(member))
    document = _load_json(member)
    if is_coco(document):
        return parse_coco(document, str(member))
    return [parse_labelme(document, str(member))] if is_labelme(document) else []


def _load_json(member: Member) -> Any:
    try:
        return json.loads(member.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{member} is not valid JSON: export the labels again.") from error


def _find_page(member: Member, pages: PageIndex, only: str) -> Draft | None:
    return pages.find(member.path, member.path.stem, "" if only else find_split(member.path))


def _list_members(archive: Archive, *suffixes: str) -> list[Member]:
    return [m for m in archive.members if m.path.suffix.lower() in suffixes and not is_leftover(m.path)]
