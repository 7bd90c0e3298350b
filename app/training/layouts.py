"""The folders of data sets: what the paths of files tell about pages, labels and splits.

These functions know only names. They fit the exports of CVAT, Label Studio, Roboflow, LabelImg and LabelMe, and the
layouts of ultralytics, darknet, COCO and Pascal VOC; ``docs/training.md`` lists them.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import PurePosixPath

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
LABEL_FOLDERS = ("labels", "label", "annotations", "annotation", "anno", "annos", "ann", "labelsets", "labeltxt")
# Files with other suffixes are images if their content is one.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp"),
    *(".gif", ".jp2", ".j2k", ".jpx", ".avif", ".heic", ".heif"),
)
TEXT_SUFFIXES = (".txt", ".json", ".xml", ".yaml", ".yml", ".names", ".data", ".csv", ".md", ".cache", ".pdf", ".ini")
LAYOUT = "use images/train/, images/val/ and images/test/ for pages, and labels/train/, … for their labels"

_SPLIT_WORDS = {"train": "train", "training": "train"}
_SPLIT_WORDS |= {"val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
# Words next to that of the split, as in ``obj_train_data``, ``test-dev2017``, ``autosplit_train.txt``.
_OTHER_WORDS = {"obj", "data", "dataset", "set", "split", "dev", "autosplit", "yolo", "coco", "instances", "person"}
_OTHER_WORDS |= {"keypoints", *IMAGE_FOLDERS, *LABEL_FOLDERS}
# Folders that tell nothing about the page. ``default`` is CVAT's subset for pages that were assigned to none.
_KINDS = (*IMAGE_FOLDERS, *LABEL_FOLDERS, "default")
_HIDDEN = ("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir", "$recycle.bin")


def is_leftover(path: PurePosixPath) -> bool:
    """Return whether an operating system left the file in the archive."""
    return any(part.startswith(".") or part.lower() in _HIDDEN for part in path.parts)


def is_image(path: PurePosixPath) -> bool | None:
    """Return whether a file is an image by its suffix; None if the suffix does not tell."""
    suffix = path.suffix.lower()
    return True if suffix in IMAGE_SUFFIXES else False if suffix in TEXT_SUFFIXES else None


def name_split(name: str) -> str:
    """Return the split that the name of a folder or a list stands for, or "".

    ``train2017``, ``obj_valid_data`` and ``Validation`` stand for a split. ``Val-de-Grace`` and ``trainval`` do not.
    """
    words = re.findall(r"[^\W\d_]+", name.casefold())
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    if len(splits) != 1 or not all(word in _SPLIT_WORDS or word in _OTHER_WORDS for word in words):
        return ""
    return splits.pop()


def find_split(path: PurePosixPath) -> str:
    """Return the split that the innermost folder of a file stands for, or ""."""
    return next((split for name in reversed(path.parts[:-1]) if (split := name_split(name))), "")


def find_list_split(path: PurePosixPath) -> str:
    """Return the split of a file that is named after it, such as ``train.txt`` or ``instances_val2017.json``, or ""."""
    *_, last = ["", *re.findall(r"[^\W\d_]+", path.stem.casefold())]
    return name_split(path.stem) or _SPLIT_WORDS.get(last, "")


def find_pages(paths: Sequence[PurePosixPath]) -> list[PurePosixPath]:
    """Return the images that are pages: those in a folder ``images``, or else all but masks."""
    inside = [path for path in paths if _find_kind(path, IMAGE_FOLDERS) is not None]
    return inside or [path for path in paths if _find_kind(path, ("labels", "masks")) is None] or list(paths)


def find_unclear(paths: Sequence[PurePosixPath]) -> str:
    """Return a folder in the place of a split that does not stand for a split, or "".

    This is a folder in ``images``, or one of several folders with pages. A single folder around all pages is none.
    """
    shared = count_common_start([path.parts[:-1] for path in paths])
    for path in paths:
        at = _find_kind(path, IMAGE_FOLDERS)
        start = shared if at is None else min(shared, at + 1)
        for end, part in enumerate(path.parts[start:-1], start + 1):
            if part.lower() not in _KINDS:
                return "/".join(path.parts[:end])
    return ""


def find_group(path: PurePosixPath) -> tuple[str, ...]:
    """Return the folders of a file without those of splits and kinds: ``ms1`` for ``images/train/ms1/a.jpg``."""
    return tuple(part for part in path.parts[:-1] if part.lower() not in _KINDS and not name_split(part))


def name_pages(paths: Sequence[PurePosixPath]) -> list[str]:
    """Return a name for each page of a split: that of its file, after its folders if several files have that name."""
    groups = [find_group(path) for path in paths]
    shared = count_common_start(groups)
    stems = Counter(path.stem for path in paths)
    return [
        path.stem if stems[path.stem] == 1 else "_".join([*group[shared:], path.stem])
        for path, group in zip(paths, groups, strict=True)
    ]


def count_common_start(folders: Sequence[tuple[str, ...]]) -> int:
    """Return the number of equal elements at the start of all paths; the first and the last in their order decide."""
    pairs = zip(min(folders), max(folders), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _find_kind(path: PurePosixPath, kinds: Sequence[str]) -> int | None:
    """Return the place of the innermost folder with one of these names; None if there is none."""
    places = [at for at, part in enumerate(path.parts[:-1]) if part.lower() in kinds]
    return places[-1] if places else None
