"""The classes of labels, matched with those of the data set.

``yaml_file`` names the classes of the data set. Many uploads also have a list of their own, to which the ids of their
label files refer: ``classes.txt``, ``obj.names`` or ``data.yaml``. Classes are then matched by name.
"""

import contextlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from app.errors import RequestError
from app.storage.archives import Archive, Member
from app.training.dataset_yaml import MOST_BYTES, parse_classes, parse_keypoints
from app.training.label_formats.yolo import ClassList
from app.training.layouts import count_common_start, is_leftover

_LISTS = ("classes.txt", "predefined_classes.txt")


def is_class_list(path: PurePosixPath) -> bool:
    """Return whether a file may list the classes of label files."""
    return path.name.lower() in _LISTS or path.suffix.lower() in (".names", ".yaml", ".yml")


class ClassLists:
    """The class lists in an archive.

    Args:
        archive: The archive with the label files.
        default: Classes of the data set, for label files without a list of their own.
    """

    def __init__(self, archive: Archive, default: ClassList) -> None:
        self._default = default
        self._members = [m for m in archive.members if is_class_list(m.path) and not is_leftover(m.path)]
        self._parsed: dict[PurePosixPath, ClassList | None] = {}
        self._by_folder: dict[PurePosixPath, ClassList] = {}

    def find(self, label: PurePosixPath) -> ClassList:
        """Return the class list that is nearest to a label file: in its folder, in one above, or elsewhere.

        Raises:
            RequestError: If two lists that are equally near differ.
        """
        folder = label.parent
        if folder not in self._by_folder:
            self._by_folder[folder] = self._find_nearest(folder)
        return self._by_folder[folder]

    def _find_nearest(self, folder: PurePosixPath) -> ClassList:
        found: list[tuple[tuple[bool, int], ClassList]] = []
        for member in sorted(self._members, key=lambda member: _rank(member.path, folder), reverse=True):
            rank = _rank(member.path, folder)
            if found and rank < found[0][0]:
                break
            if classes := self._parse(member):
                found.append((rank, classes))
        if not found:
            return self._default
        first = found[0][1]
        for _, other in found:
            if list(other.names) != list(first.names):
                raise RequestError(f"{first.source} and {other.source} list different classes: remove one of them.")
        keypoints = max(self._default.keypoints, *(classes.keypoints for _, classes in found))
        return ClassList(first.names, first.source, keypoints)

    def _parse(self, member: Member) -> ClassList | None:
        if member.path not in self._parsed:
            self._parsed[member.path] = _parse_list(member)
        return self._parsed[member.path]


def match_ids(used: Mapping[str, str], classes: Sequence[str]) -> dict[str, int]:
    """Return the id in the data set for each class name of the labels.

    Names match without regard to case. If the labels and the data set have one class each, these two match.

    Args:
        used: Class names of the labels, each with an image that has it.
        classes: Class names of the data set.

    Raises:
        RequestError: If the data set lacks a class.
    """
    by_name = {normalise(name): number for number, name in reversed(list(enumerate(classes)))}
    exact = {name: number for number, name in enumerate(classes)}
    ids = {name: exact.get(name, by_name.get(normalise(name))) for name in used}
    if len(set(map(normalise, used))) == len(classes) == 1:
        return dict.fromkeys(used, 0)
    unknown = [name for name, number in ids.items() if number is None]
    if unknown:
        raise RequestError(
            f"The labels of {used[unknown[0]]} have the class {unknown[0][:60]!r}, but yaml_file has only "
            f"{_show(classes)}: send yaml_file with the names of all classes of the labels."
        )
    return {name: number for name, number in ids.items() if number is not None}


def _rank(path: PurePosixPath, folder: PurePosixPath) -> tuple[bool, int]:
    """Return how near a file is to a folder: those above it come first, the nearest at the top."""
    shared = count_common_start([path.parts[:-1], folder.parts])
    return shared == len(path.parts) - 1, shared


def _parse_list(member: Member) -> ClassList | None:
    """Return the classes in a file; None if it lists none, as many YAML files do."""
    if member.size > MOST_BYTES:
        return None
    data = member.read()
    if member.path.suffix.lower() in (".yaml", ".yml"):
        with contextlib.suppress(RequestError):
            return ClassList(parse_classes(data), str(member), parse_keypoints(data))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # LabelImg on Windows
    names = [line.strip() for line in text.strip().splitlines()]
    return ClassList(names, str(member)) if names else None


def normalise(name: str) -> str:
    """Return a class name as it is compared: without regard to case, spaces and the form of accents."""
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def have_same_classes(first: Iterable[str], second: Iterable[str]) -> bool:
    """Return whether two lists of classes are the same: the same names in the same order, or one class each."""
    ours, theirs = [*map(normalise, first)], [*map(normalise, second)]
    return ours == theirs or len(ours) == len(theirs) == 1


def _show(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(name[:60] for name in names[:5]) + more
