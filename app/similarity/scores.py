"""The scores of a pair of documents: stored in a compact file, and returned to client apps as ``.npy``.

This module does not import numpy, because the web process uses it.
"""

import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.similarity.matching import Matches

_MAGIC = b"scores 1"
# https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
_NPY_MAGIC, _NPY_ALIGNMENT = b"\x93NUMPY\x01\x00", 64


@dataclass(frozen=True)
class Scores:
    """Pairs of images, best first.

    Attributes:
        first, second: Indices of the images in the two documents.
        scores: Cosine similarities.
        transpositions: Indices of the transposition of the first image that gave the score.
    """

    first: Sequence[int]
    second: Sequence[int]
    scores: Sequence[float]
    transpositions: Sequence[int]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class ComparedDocument:
    """The images of a document, in the order of their indices.

    Attributes:
        doc_id: ID of the document.
        content: Digest of the pixels of all images in order.
        names: Names of the images.
        urls: URLs of the images.
        files: Paths of the image files in the image cache, see ``Storage.cached_image``. Retention may remove a file.
        sizes: (width, height) of the full-size images, in pixels. An illustration has the size of its box.
        file_sizes: (width, height) of the image files, in pixels. They may be reduced copies.
    """

    doc_id: str
    content: str
    names: Sequence[str]
    urls: Sequence[str]
    files: Sequence[str]
    sizes: Sequence[Sequence[int]]
    file_sizes: Sequence[Sequence[int]]


def pack_scores(matches: "Matches") -> bytes:
    """Return the content of a score file: four little-endian columns, 13 bytes per match."""
    columns = (matches.first, "<i4"), (matches.second, "<i4"), (matches.scores, "<f4"), (matches.transpositions, "u1")
    count = struct.pack("<q", len(matches.scores))
    return b"".join([_MAGIC, count, *(values.astype(form).tobytes() for values, form in columns)])


def unpack_scores(data: bytes) -> Scores:
    """Parse the content of a file written by :func:`pack_scores`."""
    start = len(_MAGIC) + 8
    (count,) = struct.unpack("<q", data[len(_MAGIC) : start])
    columns = []
    for code, size in ("i", 4), ("i", 4), ("f", 4), ("B", 1):
        column = array(code, data[start : start + count * size])
        if sys.byteorder == "big":
            column.byteswap()
        columns.append(column)
        start += count * size
    return Scores(*columns)


def format_scores(scores: Scores, a: ComparedDocument, b: ComparedDocument) -> bytes:
    """Return the scores as ``.npy``: an array ``(m, 3)`` of strings, which ``np.load`` reads without pickle.

    Each row is ``score, image name in document a, image name in document b``, best first; the score is
    ``float(row[0])``.
    """
    rows = zip(scores.scores, scores.first, scores.second, strict=True)
    texts = [text for score, i, j in rows for text in (f"{score:.7g}", a.names[i], b.names[j])]
    width = max(map(len, texts), default=1)
    header = f"{{'descr': '<U{width}', 'fortran_order': False, 'shape': ({len(scores)}, 3), }}"
    length = len(header) + 1
    length += -(len(_NPY_MAGIC) + 2 + length) % _NPY_ALIGNMENT
    start = _NPY_MAGIC + struct.pack("<H", length) + header.ljust(length - 1).encode() + b"\n"
    return start + "".join(text.ljust(width, "\0") for text in texts).encode("utf-32-le")
