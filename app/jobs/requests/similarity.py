"""A request to compare the images of documents, every two of them and each with itself."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar

from app.errors import RequestError
from app.jobs.pairs import find_ambiguous, name_pair
from app.jobs.requests.fields import check_label, check_optional_url, check_url
from app.jobs.requests.names import explain_name, show_name
from app.jobs.requests.strict_json import JsonObject, parse_json
from app.net.addresses import read_host
from app.similarity.backbones import DEFAULT_BACKBONE, Pooling, find_backbone
from app.similarity.transpositions import Transposition

# n documents make n (n + 1) / 2 pairs, each a message.
MOST_DOCUMENTS = 200
MOST_FORGOTTEN = 1000
DEFAULT_TOPK, LARGEST_TOPK = 20, 1000


class SourceKind(StrEnum):
    """Where the images of a document come from: a list that is fetched, or what a detection job has found."""

    LIST = "url"
    JOB = "job_id"
    MANIFEST = "manifest_url"


@dataclass(frozen=True)
class Source:
    """Where the images of one document come from.

    Attributes:
        kind: Of source.
        value: The address of the list, the id of the detection job, or the address of its manifest.
    """

    kind: SourceKind
    value: str


@dataclass(frozen=True)
class SimilarityRequest:
    """Compare the images of documents.

    Attributes:
        documents: By id.
        model: Name of the backbone.
        callback: Address that receives the score files; empty for the client app's own, if it has one.
        experiment_id: Passed through to the callback.
        notify_url: Address that is told of what becomes of the job; empty for none.
        topk: So many best matches of each image are kept.
        transpositions: Of the first image of a pair, of which the best counts; first of them, the image as it is.
        pooling: Of the backbone's maps; empty for its own.
    """

    documents: Mapping[str, Source]
    model: str = DEFAULT_BACKBONE
    callback: str = ""
    experiment_id: str = ""
    notify_url: str = ""
    topk: int = DEFAULT_TOPK
    transpositions: tuple[Transposition, ...] = (Transposition.NONE,)
    pooling: str = ""

    kind: ClassVar[str] = "similarity"

    @property
    def host(self) -> str:
        """The host from which most of the lists come, or "": downloads of a host take turns."""
        hosts = (read_host(each.value) for each in self.documents.values() if each.kind is not SourceKind.JOB)
        return next((host for host, _ in Counter(hosts).most_common(1)), "")

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "SimilarityRequest":
        """Validate the fields of a JSON object or of a form, where ``documents`` is a JSON text."""
        return cls(
            documents=_check_documents(fields.get("documents")),
            model=find_backbone(check_label("model", read_text(fields, "model")) or DEFAULT_BACKBONE).name,
            callback=check_optional_url("callback", read_text(fields, "callback")),
            experiment_id=check_label("experiment_id", read_text(fields, "experiment_id")),
            notify_url=check_optional_url("notify_url", read_text(fields, "notify_url")),
            topk=_check_topk(fields.get("topk")),
            transpositions=_check_transpositions(fields.get("transpositions")),
            pooling=_check_pooling(read_text(fields, "pooling")),
        )

    def as_json(self) -> dict[str, Any]:
        documents = {doc_id: {source.kind: source.value} for doc_id, source in self.documents.items()}
        return asdict(self) | {"documents": documents}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "SimilarityRequest":
        """Return the request of which this is what :meth:`as_json` made."""
        documents = {
            doc_id: Source(SourceKind(kind), value)
            for doc_id, source in record["documents"].items()
            for kind, value in source.items()
        }
        transpositions = tuple(Transposition(each) for each in record["transpositions"])
        return cls(**(dict(record) | {"documents": documents, "transpositions": transpositions}))


def read_text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that is text; a number, which some clients send as an id, as text."""
    value = fields.get(name)
    value = "" if value is None else str(value) if type(value) is int else value
    if not isinstance(value, str):
        raise RequestError(f"{name} must be text.")
    return _check_encodable(name, value)


def check_doc_id(value: Any) -> str:
    """Return the id of a document, or raise a sentence."""
    if not isinstance(value, str):
        raise RequestError("documents must name each document by a text, its id.")
    if fault := explain_name(value):
        raise RequestError(f"documents has an id that cannot be used: {show_name(value)} {fault}.")
    return value


def check_doc_ids(value: Any) -> list[str]:
    """Return the ids in a list of documents, or raise a sentence."""
    if isinstance(value, str):
        value = _parse_documents(value)
    if not isinstance(value, list) or not value:
        raise RequestError('documents must be a list of ids, with at least one: ["id"].')
    if len(value) > MOST_FORGOTTEN:
        raise RequestError(f"documents has {len(value)} ids: send at most {MOST_FORGOTTEN} at a time.")
    return list(dict.fromkeys(map(check_doc_id, value)))


def _parse_documents(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise RequestError("documents is not JSON.") from error


def _check_encodable(name: str, value: str) -> str:
    # JSON can hold halves of a character (\ud800), which no file and no address can.
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise RequestError(f"{name} has half a character in it, which is no text.")
    return value


def _check_documents(value: Any) -> dict[str, Source]:
    if isinstance(value, str):
        value = _parse_documents(value)
    if not isinstance(value, JsonObject):
        raise RequestError('documents must be an object with an address for each document: {"id": "https://…"}.')
    if value.repeated:
        raise RequestError(f"documents has two documents of the id {show_name(value.repeated[0])}.")
    if not value:
        raise RequestError("documents is empty: send an address for each document to compare.")
    if len(value) > MOST_DOCUMENTS:
        raise RequestError(f"documents has {len(value)} documents: send at most {MOST_DOCUMENTS} at a time.")
    documents = {check_doc_id(doc_id): _check_source(doc_id, source) for doc_id, source in value.items()}
    if ambiguous := find_ambiguous(documents):
        (a, b), (c, d) = ambiguous
        raise RequestError(
            f"documents has ids that make one name for two pairs: {show_name(a)} with {show_name(b)}, and "
            f"{show_name(c)} with {show_name(d)}, are both {show_name(name_pair((a, b)))}."
        )
    return documents


def _check_source(doc_id: str, value: Any) -> Source:
    field = f"documents: {show_name(doc_id)}"
    if isinstance(value, str):
        value = {SourceKind.LIST: value}
    kinds = [kind for kind in SourceKind if isinstance(value, dict) and kind in value]
    if len(kinds) != 1 or not isinstance(value[kinds[0]], str):
        raise RequestError(f"{field} must be the address of a list, or an object with one of {', '.join(SourceKind)}.")
    kind, text = kinds[0], _check_encodable(field, value[kinds[0]])
    if kind is SourceKind.JOB:
        if not re.fullmatch("[0-9a-f]{32}", text):
            raise RequestError(f"{field} names no job: {show_name(text)} is not the id of one.")
        return Source(kind, text)
    return Source(kind, check_url(field, text))


def _check_topk(value: Any) -> int:
    if value is None or value == "":
        return DEFAULT_TOPK
    if isinstance(value, str) and re.fullmatch("[0-9]{1,6}", value.strip()):
        value = int(value)
    if type(value) is not int or not 1 <= value <= LARGEST_TOPK:
        raise RequestError(f"topk must be a whole number from 1 to {LARGEST_TOPK}.")
    return value


def _check_transpositions(value: Any) -> tuple[Transposition, ...]:
    """Return what was asked for, none twice; an image is always looked at as it is too, and so first."""
    words = re.findall(r"[^\s,\[\]\"']+", value) if isinstance(value, str) else [] if value is None else value
    if not isinstance(words, list) or not all(isinstance(word, str) and word in list(Transposition) for word in words):
        raise RequestError(f"transpositions must be a list with some of {', '.join(Transposition)}.")
    return tuple(dict.fromkeys([Transposition.NONE, *map(Transposition, words)]))


def _check_pooling(value: str) -> str:
    if value and value not in list(Pooling):
        raise RequestError(f"pooling must be one of {', '.join(Pooling)}.")
    return value
