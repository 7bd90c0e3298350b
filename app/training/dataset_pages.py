"""Pages from archives: which image belongs to which split and label file, and how they come to lie in a data set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from app.errors import RequestError, TooLarge
from app.training.archives import Archive, Member
from app.training.dataset_records import SPLITS, Split
from app.training.image_check import find_suffix
from app.training.labels import LabelledBox, format_labels, parse_labels

# What systems and annotation tools leave beside pages and labels.
_LEFTOVERS = ("thumbs.db", "desktop.ini", "classes.txt", "notes.json")
_MOST_LABEL_BYTES = 1_000_000
_ALIASES = {split: split for split in SPLITS} | {"valid": "val"}  # as Roboflow has it


@dataclass(frozen=True)
class Pages:
    """Images and label files of a split, by the stem of their names."""

    images: dict[str, Member] = field(default_factory=dict)
    labels: dict[str, Member] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes, unpacked."""
        return sum(member.size for member in (*self.images.values(), *self.labels.values()))

    def add(self, kind: str, member: Member) -> None:
        """Add an image or a label file.

        Raises:
            RequestError: There is one of the same stem.
        """
        if kind == "labels" and member.path.suffix.lower() != ".txt":
            raise RequestError(f"{member} is not a label file: send one <name of the image>.txt for each image.")
        found: dict[str, Member] = getattr(self, kind)
        other = found.setdefault(member.path.stem, member)
        if other is not member:
            raise RequestError(f"{other.path} and {member} would be the same page: give each a name of its own.")


class _Place(NamedTuple):
    """Where a file is in the zip file of a data set."""

    top: tuple[str, ...]
    split: str
    kind: str


def match_pages(images: Archive, labels: Archive) -> Pages:
    """Return the pages of two archives, whatever folders they have."""
    pages = Pages()
    for kind, archive in (("images", images), ("labels", labels)):
        for member in _skip_leftovers(archive):
            pages.add(kind, member)
    return pages


def sort_pages(archive: Archive, flat: str) -> dict[str, Pages]:
    """Return the pages of the zip file of a data set by split.

    ``images/train/``, ``train/images/`` and the like, and the same for ``labels``, both perhaps in another folder. What
    is elsewhere is not looked at.

    Args:
        archive: The zip file.
        flat: The split of pages that lie in ``images/`` itself.

    Raises:
        RequestError: There are no such folders, or several of them, or a page in two forms.
    """
    placed = [(place, member) for member in _skip_leftovers(archive) if (place := _find_place(member))]
    tops = sorted({"/".join(place.top) for place, _ in placed})
    if not any(place.kind == "images" for place, _ in placed):
        raise RequestError(f"{archive.field} has no pages: send a zip file with the folders images and labels.")
    if len(tops) > 1:
        raise RequestError(f"{archive.field} has more than one data set: {tops[0] or 'images'} and {tops[1]}.")
    if len({bool(place.split) for place, _ in placed}) > 1:
        raise RequestError(f"{archive.field} has pages in images or labels itself and in folders like train: take one.")
    found: dict[str, Pages] = {}
    for place, member in placed:
        found.setdefault(place.split or flat, Pages()).add(place.kind, member)
    return {split: found[split] for split in SPLITS if split in found}


def _skip_leftovers(archive: Archive) -> Iterable[Member]:
    for member in archive.members:
        parts = member.path.parts
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if not hidden and parts[-1].lower() not in _LEFTOVERS and member.path.suffix != ".cache":
            yield member


def _find_place(member: Member) -> _Place | None:
    """Return what the folders of a member say, None when it is in neither ``images`` nor ``labels``."""
    folders = [part.lower() for part in member.path.parts[:-1]]
    kind = next((part for part in reversed(folders) if part in ("images", "labels")), None)
    if kind is None:
        return None
    at = len(folders) - 1 - folders[::-1].index(kind)
    before, after = member.path.parts[:at], folders[at + 1 :]
    if after and after[0] in _ALIASES:
        return _Place(before, _ALIASES[after[0]], kind)
    if before and before[-1].lower() in _ALIASES:
        return _Place(before[:-1], _ALIASES[before[-1].lower()], kind)
    return _Place(before, "", kind)


def unpack_pages(pages: Pages, split: str, folder: Path, classes: int, image_bytes: int) -> Split:
    """Write the pages of a split to the folder of a data set, and count them.

    Args:
        pages: Images and label files.
        split: Which they are for.
        folder: Of the data set.
        classes: How many there are.
        image_bytes: That an image file may have.

    Raises:
        RequestError: There are none, none has a label file, a label file has no image, or something cannot be read.
        TooLarge: A file is.
    """
    _check_match(pages, split)
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    counts = []
    for stem, image in pages.images.items():
        boxes = _load_boxes(pages.labels, stem, classes)
        (labels / f"{stem}.txt").write_text(format_labels(boxes), encoding="ascii")
        _unpack_image(image, images, image_bytes)
        counts.append(len(boxes))
    return Split(len(counts), sum(counts), counts.count(0))


def _check_match(pages: Pages, split: str) -> None:
    alone = [str(pages.labels[stem]) for stem in pages.labels if stem not in pages.images]
    if not pages.images:
        raise RequestError(f"There is no image for {split}: send JPEG, PNG, TIFF, WebP or BMP files.")
    if not pages.labels:
        raise RequestError(f"None of the {len(pages.images)} images for {split} has a label file of its name.")
    if alone:
        more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise RequestError(f"These label files have no image of their name: {', '.join(alone[:3])}{more}.")


def _load_boxes(labels: Mapping[str, Member], stem: str, classes: int) -> list[LabelledBox]:
    member = labels.get(stem)
    if member is None:
        return []
    if member.size > _MOST_LABEL_BYTES:
        raise TooLarge(f"{member} is too large: a label file has at most {_MOST_LABEL_BYTES / 1e6:g} MB.")
    return parse_labels(member.read(), str(member), classes)


def _unpack_image(member: Member, folder: Path, most_bytes: int) -> None:
    if member.size > most_bytes:
        raise TooLarge(f"{member} is too large: at most {most_bytes / 1e6:g} MB are accepted.")
    pieces = member.unpack()
    first = next(pieces, b"")
    suffix = find_suffix(first)
    if not suffix:
        raise RequestError(f"{member} is not an image that is read here: send JPEG, PNG, TIFF, WebP or BMP files.")
    with (folder / f"{member.path.stem}{suffix}").open("xb") as file:
        file.write(first)
        file.writelines(pieces)
