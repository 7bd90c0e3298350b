"""Pages of an uploaded archive: match images with label files and splits, and write them into a data set."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from app.errors import RequestError, TooLarge
from app.images.signatures import describe_content
from app.training.archives import Archive, Member
from app.training.dataset_records import SPLITS, Split
from app.training.image_check import find_suffix
from app.training.labels import LabelledBox, format_labels, parse_labels

# Files that operating systems and annotation tools leave next to pages and labels.
_LEFTOVERS = ("thumbs.db", "desktop.ini", "classes.txt", "notes.json")
_MOST_LABEL_BYTES = 1_000_000
_ALIASES = {split: split for split in SPLITS} | {"valid": "val"}  # "valid" in exports of Roboflow


@dataclass(frozen=True)
class Pages:
    """Images and label files of a split, by file stem."""

    images: dict[str, Member] = field(default_factory=dict)
    labels: dict[str, Member] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Unpacked size, in bytes."""
        return sum(member.size for member in (*self.images.values(), *self.labels.values()))

    def add(self, kind: str, member: Member) -> None:
        """Add an image or a label file.

        Raises:
            RequestError: If there already is one with the same stem.
        """
        if kind == "labels" and member.path.suffix.lower() != ".txt":
            raise RequestError(f"{member} is not a label file: send one <image name>.txt for each image.")
        found: dict[str, Member] = getattr(self, kind)
        other = found.setdefault(member.path.stem, member)
        if other is not member:
            raise RequestError(f"{other.path} and {member} would be the same page: rename one of them.")


class _Place(NamedTuple):
    """The place of a file in the zip file of a data set.

    Attributes:
        top: Folders above those of the split and of the kind.
        split: ``train``, ``val`` or ``test``; "" if no folder names the split.
        kind: ``images`` or ``labels``.
    """

    top: tuple[str, ...]
    split: str
    kind: str


def match_pages(images: Archive, labels: Archive) -> Pages:
    """Return the pages of two archives; their folders are ignored."""
    pages = Pages()
    for kind, archive in (("images", images), ("labels", labels)):
        for member in _skip_leftovers(archive):
            pages.add(kind, member)
    return pages


def sort_pages(archive: Archive, flat: str) -> dict[str, Pages]:
    """Return the pages in the zip file of a data set, by split.

    Accepted are the layouts ``images/train/`` and ``train/images/``, with the same for ``labels``. Both may be inside
    another folder. All other files are ignored.

    Args:
        archive: The zip file.
        flat: Split of the pages that are directly in ``images/``.

    Raises:
        RequestError: If there are no such folders, if there is more than one data set, or if a page occurs twice.
    """
    placed = [(place, member) for member in _skip_leftovers(archive) if (place := _find_place(member))]
    tops = sorted({"/".join(place.top) for place, _ in placed})
    if not any(place.kind == "images" for place, _ in placed):
        raise RequestError(f"{archive.field} has no pages: send a zip file with the folders images/ and labels/.")
    if len(tops) > 1:
        both = f"{tops[0] or 'images'} and {tops[1]}"
        raise RequestError(f"{archive.field} has more than one data set: {both}; send only one.")
    if len({bool(place.split) for place, _ in placed}) > 1:
        raise RequestError(
            f"{archive.field} has files both directly in images/ or labels/ and in folders of a split such as train/: "
            "use one layout."
        )
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
    """Return the place of a member; None if it is in neither ``images`` nor ``labels``."""
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
    """Write the pages of a split into the folder of a data set, and return their counts.

    Args:
        pages: Images and label files.
        split: Name of the split.
        folder: Folder of the data set.
        classes: Number of classes.
        image_bytes: Maximum size of an image file, in bytes.

    Raises:
        RequestError: If there is no image or no label file, a label file has no image, or a file cannot be read.
        TooLarge: If a file is too large.
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
        raise RequestError(
            f"None of the {len(pages.images)} images for {split} has a label file: send one <image name>.txt for each."
        )
    if alone:
        more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
        raise RequestError(
            f"These label files have no image with the same name: {', '.join(alone[:3])}{more}; "
            "add the images or remove the files."
        )


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
        shown = describe_content(first)
        raise RequestError(f"{member} is not a supported image but {shown}: send JPEG, PNG, TIFF, WebP or BMP files.")
    with (folder / f"{member.path.stem}{suffix}").open("xb") as file:
        file.write(first)
        file.writelines(pieces)
