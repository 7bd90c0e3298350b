"""Requests to compare the images of documents, every two of them and each with itself, and to forget documents."""

import re
from collections import Counter
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer, Strict
from pydantic.dataclasses import dataclass

from app.jobs.pairs import find_ambiguous, name_pair
from app.jobs.requests.fields import (
    FROM_TEXT,
    Address,
    ExperimentId,
    JobId,
    Label,
    Name,
    NotifyUrl,
    OneOf,
    OptionalAddress,
)
from app.jobs.requests.reading import JsonObject, Request, parse_json, show
from app.net.addresses import read_host
from app.similarity.backbones import BACKBONES, DEFAULT_BACKBONE, Pooling, find_backbone
from app.similarity.transpositions import Transposition

# n documents make n (n + 1) / 2 pairs, each a message.
MOST_DOCUMENTS = 200
MOST_FORGOTTEN = 1000
DEFAULT_TOPK, LARGEST_TOPK = 20, 1000


@dataclass(frozen=True, config=ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1}))
class Source:
    """Where the images of a document come from: one of these fields says it, the others are empty."""

    url: Annotated[Address, Field(description="Address of a list {image name: image address}.")] = ""
    job_id: Annotated[JobId, Field(description="Id of a detection job of yours that is done.")] = ""
    manifest_url: Annotated[Address, Field(description="Address of a manifest: your newest detection job on it.")] = ""


def _read_source(value: Any) -> Any:
    """Return the one field that says where images come from; a text is the address of a list."""
    if isinstance(value, Source):
        return value
    sent = {"url": value} if isinstance(value, str) else value if isinstance(value, dict) else {}
    known = {name: text for name, text in sent.items() if name in SOURCES}
    if len(known) != 1:
        raise ValueError(f"must be the address of a list, or an object with one of {', '.join(SOURCES)}")
    return {name: text.strip() if isinstance(text, str) else text for name, text in known.items()}


def _write_source(source: Source) -> dict[str, str]:
    return {name: value for name in SOURCES if (value := getattr(source, name))}


SOURCES = ("url", "job_id", "manifest_url")
AnySource = Annotated[
    Source, BeforeValidator(_read_source, json_schema_input_type=Address | Source), PlainSerializer(_write_source)
]


def _parse(value: Any) -> Any:
    """Return the documents that a form has as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except ValueError as error:
        raise ValueError("is not JSON") from error


def _check_documents(value: Any) -> Any:
    value = _parse(value)
    if not isinstance(value, dict):
        raise ValueError('must be an object with an address for each document: {"id": "https://…"}')
    if isinstance(value, JsonObject) and value.repeated:
        raise ValueError(f"has two documents of the id {show(value.repeated[0])}")
    return value


def _check_pairs(documents: dict[str, Source]) -> dict[str, Source]:
    if ambiguous := find_ambiguous(documents):
        (a, b), (c, d) = ambiguous
        raise ValueError(
            f"has ids that make one name for two pairs: {show(a)} with {show(b)}, and {show(c)} with {show(d)}, "
            f"are both {show(name_pair((a, b)))}"
        )
    return documents


def _split_words(value: Any) -> Any:
    """Return the words of a form's text: ``hflip, rot90`` or ``["hflip", "rot90"]``."""
    return re.findall(r"[^\s,\[\]\"']+", value) if isinstance(value, str) else value


def _put_first(transpositions: tuple[Transposition, ...]) -> tuple[Transposition, ...]:
    """Return what was asked for, each once; an image is always compared as it is too, and so first."""
    return tuple(dict.fromkeys([Transposition.NONE, *transpositions]))


@dataclass(frozen=True)
class SimilarityRequest(Request):
    """Compare the images of documents. An empty field stands for the default."""

    documents: Annotated[
        dict[Name, AnySource],
        Field(description="An address for each document, by its id.", min_length=1, max_length=MOST_DOCUMENTS),
        BeforeValidator(_check_documents),
        AfterValidator(_check_pairs),
    ]
    model: Annotated[
        Label,
        Field(
            description=f"{', '.join(BACKBONES)}, or timm:<name>.",
            json_schema_extra={"pattern": f"^({'|'.join(BACKBONES)}|timm:[a-z0-9_.]+)?$"},
        ),
        AfterValidator(lambda name: find_backbone(name).name),
    ] = DEFAULT_BACKBONE
    callback: Annotated[
        OptionalAddress,
        Field(description="The address that receives the score files, in place of CLIENT_APP_URL/similarity."),
    ] = ""
    experiment_id: ExperimentId = ""
    notify_url: NotifyUrl = ""
    topk: Annotated[
        int, Strict(), Field(description="Best matches to keep of each image.", ge=1, le=LARGEST_TOPK), FROM_TEXT
    ] = DEFAULT_TOPK
    transpositions: Annotated[
        tuple[Transposition, ...],
        Field(description="How the first image of a pair is turned; the best score counts."),
        BeforeValidator(_split_words),
        AfterValidator(_put_first),
    ] = (Transposition.NONE,)
    pooling: Annotated[str, OneOf(tuple(Pooling)), Field(description="Of the backbone's maps; else its own.")] = ""

    kind: ClassVar[str] = "similarity"

    @property
    def host(self) -> str:
        hosts = (read_host(each.url or each.manifest_url) for each in self.documents.values() if not each.job_id)
        return next((host for host, _ in Counter(hosts).most_common(1)), "")


@dataclass(frozen=True)
class ForgetRequest:
    """Forget images, embeddings and scores of documents."""

    documents: Annotated[
        list[Name],
        Field(description='A list of ids, with at least one: ["id"].', min_length=1, max_length=MOST_FORGOTTEN),
        BeforeValidator(_parse),
        AfterValidator(lambda doc_ids: list(dict.fromkeys(doc_ids))),
    ]
