"""The records of the documents of a similarity job, in its folder: lists of images, and outcomes of fetching them.

Each step of the job skips what is already in this folder or in a cache, so it can be repeated after any interruption.
It calls a ``Report`` and a ``Count``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.errors import FetchError
from app.jobs.requests.reading import show
from app.similarity.scores import ComparedDocument
from app.storage import JobFolder, RecordFile, write_atomic

LONGEST_REASON = 500
GONE = "The cached image was removed or damaged while the job ran: retry the job."


@dataclass(frozen=True)
class ListedImage:
    """An image in the list of a document.

    Attributes:
        name: Name of the image in the client app.
        url: URL of the image.
        canvas_number: Canvas number of an illustration, a crop or a page; 0 for an image of a list.
        xywh: Box of an illustration or a crop, in pixels of the full-size image; empty for other images.
    """

    name: str
    url: str
    canvas_number: int = 0
    xywh: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImageList:
    """The list of images of a document.

    Attributes:
        images: Images that can be fetched.
        failed: Unusable entries, as (name, reason).
        error: Reason why there is no list or no usable image, or "".
        retries: Number of retries of the job when the list was fetched.
    """

    images: tuple[ListedImage, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    error: str = ""
    retries: int = 0


@dataclass(frozen=True)
class ImageOutcome:
    """The outcome of fetching an image.

    Attributes:
        name: Name of the image.
        file: File name in the cache; None if the fetch failed.
        digest: SHA-256 of the file.
        reason: Reason of the failure, or "".
        retries: Number of retries of the job at the time of this outcome.
        size: (width, height) of the full-size image, in pixels. An illustration has the size of its box.
        file_size: (width, height) of the file, in pixels.
    """

    name: str
    file: str | None = None
    digest: str = ""
    reason: str = ""
    retries: int = 0
    size: Sequence[int] = ()
    file_size: Sequence[int] = ()


@dataclass(frozen=True)
class DocumentCoverage:
    """The number of images of a document by outcome.

    Attributes:
        doc_id: ID of the document.
        images: Number of images in the list.
        usable: Number of images that can be compared.
        failed: Images that cannot be compared, as (name, reason).
        error: Reason why no image can be compared, or "".
    """

    doc_id: str
    images: int = 0
    usable: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        failed = [{"image_name": name, "reason": reason} for name, reason in self.failed]
        return asdict(self) | {"failed": failed, "error": self.error or None}


@dataclass(frozen=True)
class Coverage:
    """The coverage of all documents of a job."""

    documents: tuple[DocumentCoverage, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"documents": [document.as_json() for document in self.documents]}


# Called with the numbers of done and of all steps, and the coverage; None means "unchanged". It raises an error if the
# job was cancelled or moved to another worker.
Report = Callable[[int, int, Coverage | None], None]
# Called with a counter of ``/metrics``, a status and a number: ``images`` are ``embedded`` or ``failed``, ``pairs`` are
# ``compared`` or ``known``, ``image_pairs`` are ``verified`` or ``known``.
Count = Callable[[str, str, int], None]


@dataclass
class DocumentRecords:
    """The records of one document in a job's folder.

    Attributes:
        folder: Folder of the job.
        number: 1-based position of the document in the request.
        doc_id: ID of the document.
        listing: List of images; None until it is fetched.
        fetched: Outcomes by image name.
    """

    folder: JobFolder
    number: int
    doc_id: str
    listing: ImageList | None = None
    fetched: dict[str, ImageOutcome] = field(default_factory=dict)

    @property
    def _outcomes(self) -> RecordFile[str]:
        return self.folder.image_outcomes(self.number)

    @classmethod
    def load(cls, folder: JobFolder, number: int, doc_id: str) -> "DocumentRecords":
        """Load the records of a document."""
        records = cls(folder, number, doc_id)
        path = folder.document(number, ".json")
        if path.exists():
            record = json.loads(path.read_bytes())
            images = (ListedImage(name, url, canvas, tuple(xywh)) for name, url, canvas, xywh in record["images"])
            failed = tuple((name, reason) for name, reason in record["failed"])
            records.listing = ImageList(tuple(images), failed, record["error"], record["retries"])
            names = {image.name for image in records.listing.images}
            known = records._outcomes.load().items()
            records.fetched = {name: ImageOutcome(**record) for name, record in known if name in names}
        return records

    def save_list(self, images: ImageList) -> None:
        """Save the list of the document, and drop the outcomes of images that are no longer in it."""
        names = {image.name for image in images.images}
        self.listing = images
        self.fetched = {name: fetched for name, fetched in self.fetched.items() if name in names}
        rows = [(image.name, image.url, image.canvas_number, image.xywh) for image in images.images]
        record = {"images": rows, "failed": images.failed, "error": images.error, "retries": images.retries}
        write_atomic(self.folder.document(self.number, ".json"), json.dumps(record, ensure_ascii=False).encode())

    def add(self, fetched: ImageOutcome) -> None:
        """Save the outcome of an image. It replaces an earlier one."""
        self.fetched[fetched.name] = fetched
        self._outcomes.save({fetched.name: asdict(fetched)})

    def cover(self) -> DocumentCoverage:
        """Return the coverage of the document."""
        if self.listing is None:
            return DocumentCoverage(self.doc_id)
        known = (self.fetched.get(image.name) for image in self.listing.images)
        failed = tuple((each.name, each.reason) for each in known if each and each.file is None)
        usable = len(self.fetched) - len(failed)
        error = self.listing.error
        if not error and self.listing.images and len(failed) == len(self.listing.images):
            error = f"None of its {len(failed)} images could be used; the first error: {failed[0][1]}"
        count = len(self.listing.images) + len(self.listing.failed)
        return DocumentCoverage(self.doc_id, count, usable, self.listing.failed + failed, error)

    def order_usable(self) -> list[tuple[ListedImage, ImageOutcome]]:
        """Return the fetched images, ordered by digest: the order does not depend on their names."""
        listed = {image.name: image for image in (self.listing or ImageList()).images}
        usable = sorted((each.digest, each.name) for each in self.fetched.values() if each.file)
        return [(listed[name], self.fetched[name]) for _, name in usable]


def load_all(folder: JobFolder, doc_ids: Mapping[str, Any]) -> list[DocumentRecords]:
    """Load the records of all documents of a request."""
    return [DocumentRecords.load(folder, number, doc_id) for number, doc_id in enumerate(doc_ids, 1)]


def cover(documents: Sequence[DocumentRecords]) -> Coverage:
    return Coverage(tuple(each.cover() for each in documents))


def check_usable(documents: Sequence[DocumentRecords]) -> None:
    """Check that a document has an image that can be compared.

    Raises:
        FetchError: No document has one.
    """
    covered = cover(documents).documents
    if not any(each.usable for each in covered):
        first = covered[0]
        raise FetchError(
            f"None of the {len(covered)} documents has an image that can be compared; "
            f"the first, {show(first.doc_id)}: {first.error}"
        )


def save_compared(records: DocumentRecords, content: str, images: Path) -> None:
    """Save the list of compared images, to which the indices in the score files refer.

    Args:
        records: Records of the document.
        content: Content of the document.
        images: Folder of its cached images.
    """
    usable = records.order_usable()
    compared = ComparedDocument(
        records.doc_id,
        content,
        [image.name for image, _ in usable],
        [image.url for image, _ in usable],
        [f"{images.name}/{fetched.file}" for _, fetched in usable],
        [fetched.size for _, fetched in usable],
        [fetched.file_size for _, fetched in usable],
    )
    path = records.folder.document(records.number, ".compared")
    write_atomic(path, json.dumps(asdict(compared), ensure_ascii=False).encode())
