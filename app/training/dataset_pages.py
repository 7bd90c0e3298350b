"""Pages of an upload: sort its images and labels by split, and write them into a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import RequestError, TooLarge
from app.images.formats import describe_content
from app.storage.archives import LONGEST_NAME_BYTES, Archive, Member
from app.training.class_names import match_ids
from app.training.dataset_records import SPLITS, Split
from app.training.image_check import find_suffix
from app.training.label_formats.yolo import ClassList, LabelledBox, format_labels
from app.training.layouts import (
    LAYOUT,
    find_pages,
    find_split,
    find_unclear,
    is_image,
    is_leftover,
    name_pages,
)
from app.training.page_index import Draft, PageIndex
from app.training.page_labels import read_labels, read_splits

# Bytes that find_suffix needs.
_BEGINNING = 16


@dataclass(frozen=True)
class Page:
    """A page of a data set.

    Attributes:
        name: File name in the data set, without suffix.
        image: The uploaded image.
        boxes: Its illustrations.
    """

    name: str
    image: Member
    boxes: Sequence[LabelledBox]


def match_pages(images: Archive, labels: Archive, split: str, classes: ClassList) -> dict[str, list[Page]]:
    """Return the pages of two archives, for one split.

    Args:
        images: Archive of images.
        labels: Archive of labels.
        split: Split of all pages.
        classes: Classes of the data set.

    Raises:
        RequestError: If there is no image or no label, a label is invalid, or a page occurs twice.
    """
    drafts = [Draft(image, split) for image in _list_images(images)]
    if not drafts:
        raise RequestError(f"{images.field} has no images: send JPEG, PNG, TIFF, WebP or BMP files.")
    read_labels(labels, PageIndex(drafts), classes, only=split)
    return {split: _finish(drafts, split)}


def sort_pages(archive: Archive, flat: str | None, classes: ClassList) -> dict[str, list[Page]]:
    """Return the pages in the zip file of a data set, by split.

    Folders, lists and label files name the split of a page; see ``layouts``.

    Args:
        archive: The zip file.
        flat: Split of the pages if nothing names their splits; None if the request does not say: ``test``.
        classes: Classes of the data set.

    Raises:
        RequestError: If there is no image or no label, a split is unclear, a label is invalid, or a page occurs twice.
    """
    images = _list_images(archive)
    kept = set(find_pages([image.path for image in images]))
    drafts = [Draft(m, find_split(m.path), source=str(m.path.parent)) for m in images if m.path in kept]
    if not drafts:
        raise RequestError(f"{archive.field} has no pages: export it with its images; {LAYOUT}.")
    pages = PageIndex(drafts)
    read_splits(archive, pages)
    read_labels(archive, pages, classes)
    _settle_splits(drafts, archive.field, flat)
    found = {split: [draft for draft in drafts if draft.split == split] for split in SPLITS}
    return {split: _finish(each, split) for split, each in found.items() if each}


def _list_images(archive: Archive) -> list[Member]:
    """Return the images, by their suffix, or by their content where the suffix says nothing."""
    return [
        m
        for m in archive.members
        if not is_leftover(m.path) and (_has_image(m) if is_image(m.path) is None else is_image(m.path))
    ]


def _has_image(member: Member) -> bool:
    return bool(find_suffix(next(member.unpack(), b"")[:_BEGINNING]))


def _settle_splits(drafts: Sequence[Draft], field: str, flat: str | None) -> None:
    """Give pages without a split that of the request, if no page has one."""
    unknown = [draft for draft in drafts if not draft.split]
    if not unknown:
        return
    if len(unknown) < len(drafts):
        known = next(draft for draft in drafts if draft.split)
        raise RequestError(
            f"{unknown[0].image} is in no folder of a split, but {known.image.path} is for {known.split} "
            f"by {known.source}: {LAYOUT}."
        )
    unclear = "" if flat else find_unclear([draft.image.path for draft in unknown])
    if unclear:
        raise RequestError(
            f"The folder {unclear} in {field} is none of train, val or test: {LAYOUT}, or send the field action."
        )
    for draft in unknown:
        draft.split = flat or "test"


def _finish(drafts: Sequence[Draft], split: str) -> list[Page]:
    """Return the pages of a split with their names in the data set.

    Raises:
        RequestError: If no page has labels, or two pages have the same name in the same folder.
    """
    if all(draft.boxes is None for draft in drafts):
        raise RequestError(
            f"None of the {len(drafts)} images for {split} has a label file: send one <image name>.txt for each, "
            f"such as {drafts[0].image.path.stem}.txt for {drafts[0].image}, or labels of COCO, LabelMe or Pascal VOC."
        )
    named: dict[str, Draft] = {}
    for name, draft in zip(name_pages([draft.image.path for draft in drafts]), drafts, strict=True):
        other = named.setdefault(name, draft)
        if other is not draft or len(name.encode()) > LONGEST_NAME_BYTES:
            raise RequestError(f"{other.image.path} and {draft.image} would be the same page: rename one of them.")
    return [Page(name, draft.image, draft.boxes or ()) for name, draft in named.items()]


def find_ids(pages: Mapping[str, Sequence[Page]], classes: Sequence[str]) -> dict[str, int]:
    """Return the id in the data set for each class name of the labels."""
    used = {box.class_name: str(page.image) for each in pages.values() for page in each for box in page.boxes}
    return match_ids(used, classes)


def unpack_pages(pages: Sequence[Page], split: str, folder: Path, ids: Mapping[str, int], image_bytes: int) -> Split:
    """Write the pages of a split into the folder of a data set, and return their counts.

    Args:
        pages: The pages.
        split: Name of the split.
        folder: Folder of the data set.
        ids: Class id for each class name of the labels.
        image_bytes: Maximum size of an image file, in bytes.

    Raises:
        RequestError: If a file cannot be read.
        TooLarge: If a file is too large.
    """
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    counts = []
    for page in pages:
        text = format_labels(page.boxes, ids)
        (labels / f"{page.name}.txt").write_text(text, encoding="ascii")
        _unpack_image(page, images, image_bytes)
        counts.append(text.count("\n"))
    return Split(len(counts), sum(counts), counts.count(0))


def _unpack_image(page: Page, folder: Path, most_bytes: int) -> None:
    if page.image.size > most_bytes:
        raise TooLarge(f"{page.image} is too large: at most {most_bytes / 1e6:g} MB are accepted.")
    pieces = page.image.unpack()
    first = next(pieces, b"")
    suffix = find_suffix(first)
    if not suffix:
        shown = describe_content(first)
        reason = f"is not a supported image but {shown}: send JPEG, PNG, TIFF, WebP or BMP files"
        raise RequestError(f"{page.image} {reason}.")
    with (folder / f"{page.name}{suffix}").open("xb") as file:
        file.write(first)
        file.writelines(pieces)
