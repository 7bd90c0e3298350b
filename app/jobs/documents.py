"""Documents of similarity jobs: the sources of their images, the files they use, and their removal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.database.sessions import Database
from app.database.tables import Document, Job
from app.errors import RequestError
from app.jobs.requests import DetectionRequest, SearchRequest, SimilarityRequest, Source
from app.jobs.requests.reading import show
from app.jobs.states import FINISHED, UNFINISHED, State
from app.storage import CROPS, ILLUSTRATIONS, Storage


@dataclass(frozen=True)
class Forgotten:
    """IDs of documents whose removal was requested, by outcome."""

    forgotten: tuple[str, ...]
    in_use: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class EmbeddedDocument:
    """A document whose images a similarity job has embedded.

    Attributes:
        job_id: ID of the job.
        number: Position in the job's request, from 1.
        doc_id: ID of the document.
    """

    job_id: str
    number: int
    doc_id: str


class Documents:
    """The rows of documents.

    Args:
        database: Database with the rows.
        storage: Storage with the files of the documents.
    """

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    def find_detection(self, app_id: int, doc_id: str, source: Source) -> Job:
        """Return the detection job whose illustrations are the images of a document.

        Args:
            app_id: ID of the client app.
            doc_id: ID of the document, for error messages; "" in a search.
            source: Source with a ``job_id``, or with a ``manifest_url`` for the newest job in state ``done``.

        Raises:
            RequestError: The client app has no such job, or it is not ``done``.
        """
        named = f"documents: {show(doc_id)} names" if doc_id else "job_id is the ID of"
        mine = select(Job).where(Job.app_id == app_id)
        with self._database.session() as session:
            if source.manifest_url:
                mine = mine.where(Job.kind == DetectionRequest.kind, Job.state == State.DONE)
                manifest = Job.request["manifest_url"].as_string() == source.manifest_url
                job = session.scalars(mine.where(manifest).order_by(Job.created.desc()).limit(1)).first()
                if job is None:
                    raise RequestError(
                        f"{named} a manifest for which you have no finished detection job: send the manifest first."
                    )
                return job
            job = session.scalars(mine.where(Job.id == source.job_id)).first()
        if job is None:
            raise RequestError(f"{named} a job that does not exist: {source.job_id!r}.")
        if job.kind != DetectionRequest.kind:
            raise RequestError(f"{named} a job that is not a detection job: {source.job_id} is a {job.kind} job.")
        if job.state != State.DONE:
            raise RequestError(f"{named} a job that is not done: {source.job_id} is {job.state}.")
        return job

    def check(self, app_id: int, request: SimilarityRequest) -> None:
        """Check that the detection jobs of a request's documents exist and are done.

        Raises:
            RequestError: A document names an unusable detection job.
        """
        for doc_id, source in request.documents.items():
            if not source.url:
                self.find_detection(app_id, doc_id, source)

    def record(self, job: Job, sources: Mapping[str, str]) -> None:
        """Record the documents of a job. A retry may find another source: a detection job that was not done before.

        Args:
            job: Similarity job.
            sources: Key of each document's image folder, by document ID.
        """
        with self._database.session() as session:
            rows = {row.number: row for row in session.scalars(select(Document).where(Document.job_id == job.id))}
            for number, (doc_id, source) in enumerate(sources.items(), 1):
                if number in rows:
                    rows[number].source = source
                else:
                    row = Document(job_id=job.id, number=number, app_id=job.app_id, doc_id=doc_id, source=source)
                    session.add(row)

    def record_content(self, job: Job, doc_id: str, content: str) -> None:
        """Record the hash of a document's images, which is the key of its embeddings and scores."""
        mine = (Document.job_id == job.id) & (Document.doc_id == doc_id)
        with self._database.session() as session:
            session.execute(update(Document).where(mine).values(content=content))

    def list_for_job(self, job: Job) -> Sequence[Document]:
        """Return the documents of a job, in the order of its request."""
        with self._database.session() as session:
            return session.scalars(select(Document).where(Document.job_id == job.id).order_by(Document.number)).all()

    def list_embedded(self, app_id: int, request: SearchRequest) -> list[EmbeddedDocument]:
        """Return the documents that a search covers, those of the newest jobs first. A document may occur repeatedly.

        Their embeddings may have been removed since.

        Args:
            app_id: ID of the client app.
            request: Search. Its documents were embedded by the same model with the same pooling.

        Raises:
            RequestError: There is no such document, or a document of the request is not among them.
        """
        same = (Job.request["model"].as_string() == request.model) & (
            Job.request["pooling"].as_string() == request.pooling
        )
        jobs = select(Job.id).where(Job.app_id == app_id, Job.kind == SimilarityRequest.kind, same)
        columns = select(Document.job_id, Document.number, Document.doc_id)
        embedded = columns.where(Document.app_id == app_id, Document.content.is_not(None))
        if request.documents:
            embedded = embedded.where(Document.doc_id.in_(request.documents))
        with self._database.session() as session:
            order = {job_id: place for place, job_id in enumerate(session.scalars(jobs.order_by(Job.created.desc())))}
            found = session.execute(embedded).all()
        rows = [EmbeddedDocument(job_id, number, doc_id) for job_id, number, doc_id in found if job_id in order]
        named = f"by {request.model}" + f" with pooling {request.pooling}" * bool(request.pooling)
        known = {row.doc_id for row in rows}
        if unknown := [doc_id for doc_id in request.documents if doc_id not in known]:
            raise RequestError(f"documents: {show(unknown[0])} was not embedded {named}: compare it first.")
        if not rows:
            raise RequestError(f"You have no documents that were embedded {named}: compare some first.")
        return sorted(rows, key=lambda row: order[row.job_id])

    def list_sources_in_use(self) -> set[str]:
        """Return the sources of documents in unfinished jobs, and the origins of the pages that these are cut from."""
        with self._database.session() as session:
            working = select(Document.source).join(Job).where(Job.state.in_(UNFINISHED))
            sources = set(session.scalars(working.distinct()))
        return sources | {source.removesuffix(ILLUSTRATIONS).removesuffix(CROPS) for source in sources}

    def forget(self, app_id: int, doc_ids: Sequence[str]) -> Forgotten:
        """Remove the images, embeddings and scores of documents of a client app.

        Documents of unfinished jobs are kept. Files that another document, a detection job or another client app also
        uses are kept, too.
        """
        with self._database.session() as session:
            mine = select(Document, Job.state).join(Job).where(Document.app_id == app_id, Document.doc_id.in_(doc_ids))
            found = session.execute(mine).all()
            in_use = {row.doc_id for row, state in found if state not in FINISHED}
            gone = [row for row, _ in found if row.doc_id not in in_use]
            sources = {source for row in gone for source in (row.source, row.source.removesuffix(CROPS))}
            detected = _find_detected(session, sources)
            for row in gone:
                session.execute(delete(Document).where(Document.job_id == row.job_id, Document.number == row.number))
            used = {each for each in sources for kind in ("", CROPS) if _is_used(session, Document.source, each + kind)}
            sources -= detected | used
            contents = {
                row.content for row in gone if row.content and not _is_used(session, Document.content, row.content)
            }
        for row in gone:
            self._storage.job(row.job_id).forget_document(row.number)
        for source in sources:
            self._storage.forget_images(source)
        for content in contents:
            self._storage.forget_content(content)
        known = {row.doc_id for row, _ in found}
        return Forgotten(
            tuple(each for each in doc_ids if each in known - in_use),
            tuple(each for each in doc_ids if each in in_use),
            tuple(each for each in doc_ids if each not in known),
        )


def _find_detected(session: Session, sources: set[str]) -> set[str]:
    """Return the sources whose pages a detection job has."""
    manifest, digest = Job.request["manifest_url"].as_string(), Job.request["file_digest"].as_string()
    files = {source.removeprefix("file ") for source in sources if source.startswith("file ")}
    has_pages = manifest.in_(sources) | ((manifest == "") & digest.in_(files))
    found = session.execute(select(manifest, digest).where(Job.kind == DetectionRequest.kind, has_pages).distinct())
    return {url or f"file {file}" for url, file in found}


def _is_used(session: Session, column: Any, value: str) -> bool:
    """Return whether a document has a value in a column."""
    return session.scalars(select(column).where(column == value).limit(1)).first() is not None
