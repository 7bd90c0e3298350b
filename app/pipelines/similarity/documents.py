"""What a similarity job knows of its documents, kept in its folder: their lists, and what came of each image."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

from app.similarity.scores import ComparedDocument
from app.storage import JobFolder, write_atomic

LONGEST_REASON = 500


@dataclass(frozen=True)
class ListedImage:
    """An image as its document lists it.

    Attributes:
        name: By which the client app knows it.
        url: Where it is.
        canvas_number: Of one that was detected, the canvas on which it is; 0 for others.
        xywh: Of one that was detected, where: in pixels of the full-size image.
    """

    name: str
    url: str
    canvas_number: int = 0
    xywh: tuple[int, ...] = ()


@dataclass(frozen=True)
class ImageList:
    """The images of a document.

    Attributes:
        images: That can be asked for.
        failed: The names of others, each with the reason.
        error: Why there is no list, or none with an image, else "".
        retries: How often the job had been tried again when this was so.
    """

    images: tuple[ListedImage, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    error: str = ""
    retries: int = 0


@dataclass(frozen=True)
class FetchedImage:
    """What came of fetching an image.

    Attributes:
        name: Of the image.
        file: Its name in the cache; None when it could not be fetched.
        digest: Of the bytes of that file.
        reason: Why it could not be fetched, else "".
        retries: How often the job's failed images had been asked for again when this came of it.
    """

    name: str
    file: str | None = None
    digest: str = ""
    reason: str = ""
    retries: int = 0


@dataclass(frozen=True)
class DocumentCoverage:
    """The images of a document accounted for: those that can be compared, and those that cannot and why."""

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
    """All documents of a job accounted for."""

    documents: tuple[DocumentCoverage, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"documents": [document.as_json() for document in self.documents]}


@dataclass
class DocumentRecords:
    """The records of one document in a job's folder.

    What came of an image is a line at the end of a file: one that a crash cut off is as if it had not been written.

    Attributes:
        folder: The job's.
        number: 1-based place of the document in the request.
        doc_id: Of the document.
        listing: Its list, when it is known.
        fetched: What came of its images, by name.
    """

    folder: JobFolder
    number: int
    doc_id: str
    listing: ImageList | None = None
    fetched: dict[str, FetchedImage] = field(default_factory=dict)
    _journal: TextIO | None = None

    @classmethod
    def load(cls, folder: JobFolder, number: int, doc_id: str) -> "DocumentRecords":
        """Return what is known of a document by now."""
        records = cls(folder, number, doc_id)
        path = folder.document(number, ".json")
        if path.exists():
            record = json.loads(path.read_bytes())
            images = (ListedImage(name, url, canvas, tuple(xywh)) for name, url, canvas, xywh in record["images"])
            failed = tuple((name, reason) for name, reason in record["failed"])
            records.listing = ImageList(tuple(images), failed, record["error"], record["retries"])
            names = {image.name for image in records.listing.images}
            records.fetched = {name: fetched for name, fetched in records._load_journal().items() if name in names}
        return records

    def _load_journal(self) -> dict[str, FetchedImage]:
        path = self.folder.document(self.number, ".jsonl")
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if path.exists() else []
        found = {}
        for line in lines:
            try:
                fetched = FetchedImage(**json.loads(line))
            except (ValueError, TypeError):  # the last before a crash, and the next one behind it
                continue
            found[fetched.name] = fetched
        return found

    def save_list(self, images: ImageList) -> None:
        """Keep the list of the document, and forget what came of images that are not on it any more."""
        names = {image.name for image in images.images}
        self.listing = images
        self.fetched = {name: fetched for name, fetched in self.fetched.items() if name in names}
        rows = [(image.name, image.url, image.canvas_number, image.xywh) for image in images.images]
        record = {"images": rows, "failed": images.failed, "error": images.error, "retries": images.retries}
        write_atomic(self.folder.document(self.number, ".json"), json.dumps(record, ensure_ascii=False).encode())

    def add(self, fetched: FetchedImage) -> None:
        """Keep what came of an image; the newest counts."""
        self.fetched[fetched.name] = fetched
        if self._journal is None:
            path = self.folder.document(self.number, ".jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._journal = path.open("a", encoding="utf-8")
            self._journal.write("\n" * bool(self._journal.tell()))  # behind a line that a crash cut off
        self._journal.write(json.dumps(asdict(fetched), ensure_ascii=False) + "\n")
        self._journal.flush()

    def close(self) -> None:
        if self._journal:
            self._journal.close()
            self._journal = None

    def cover(self) -> DocumentCoverage:
        """Account for every image."""
        if self.listing is None:
            return DocumentCoverage(self.doc_id)
        known = (self.fetched.get(image.name) for image in self.listing.images)
        failed = tuple((each.name, each.reason) for each in known if each and each.file is None)
        usable = len(self.fetched) - len(failed)
        error = self.listing.error
        if not error and self.listing.images and len(failed) == len(self.listing.images):
            error = f"None of its {len(failed)} images could be used; the first: {failed[0][1]}"
        count = len(self.listing.images) + len(self.listing.failed)
        return DocumentCoverage(self.doc_id, count, usable, self.listing.failed + failed, error)

    def order_usable(self) -> list[tuple[ListedImage, FetchedImage]]:
        """Return the images that are there, in an order that their pixels alone decide, whatever they are named."""
        listed = {image.name: image for image in (self.listing or ImageList()).images}
        usable = sorted((each.digest, each.name) for each in self.fetched.values() if each.file)
        return [(listed[name], self.fetched[name]) for _, name in usable]


def load_all(folder: JobFolder, doc_ids: Mapping[str, Any]) -> list[DocumentRecords]:
    """Return the records of every document of a request."""
    return [DocumentRecords.load(folder, number, doc_id) for number, doc_id in enumerate(doc_ids, 1)]


def save_compared(records: DocumentRecords, content: str) -> None:
    """Keep which images were compared, for those who read the scores."""
    images = [image for image, _ in records.order_usable()]
    compared = ComparedDocument(
        records.doc_id, content, [image.name for image in images], [image.url for image in images]
    )
    path = records.folder.document(records.number, ".compared")
    write_atomic(path, json.dumps(asdict(compared), ensure_ascii=False).encode())
