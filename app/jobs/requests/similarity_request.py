"""Requests to compare the images of documents, pair by pair, and to forget documents."""

import re
from collections import Counter
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer, Strict
from pydantic.dataclasses import dataclass

from app.jobs.pairs import find_ambiguous, name_pair
from app.jobs.requests.crops import Crop, read_crops
from app.jobs.requests.fields import (
    FROM_TEXT,
    Address,
    Callback,
    ExperimentId,
    JobId,
    Label,
    Name,
    NotifyUrl,
    OneOf,
)
from app.jobs.requests.reading import JsonObject, Request, parse_text, show
from app.net.addresses import read_host
from app.similarity.backbones import BACKBONES, DEFAULT_BACKBONE, Pooling, find_backbone
from app.similarity.transpositions import Transposition

# n documents make n (n + 1) / 2 pairs, each with its own delivery.
MOST_DOCUMENTS = 200
MOST_DOC_IDS = 1000
MOST_CROPS = 20_000
DEFAULT_TOPK, LARGEST_TOPK = 20, 1000
DEFAULT_VERIFY, LARGEST_VERIFY = 10, 100


@dataclass(frozen=True, config=ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 2}))
class Source:
    """The source of the images of a document: one of url, job_id and manifest_url, and the part of it."""

    url: Annotated[
        Address,
        Field(
            description="The URL of a document, whose pages are the images: an object that maps image names to image "
            "URLs, another list of image URLs, a zip file, a PDF, or a IIIF manifest."
        ),
    ] = ""
    job_id: Annotated[
        JobId, Field(description="The ID of your detection job, in state done. Its illustrations are the images.")
    ] = ""
    manifest_url: Annotated[
        Address,
        Field(
            description="The URL of a manifest. The images are the illustrations of your newest detection job "
            "for it in state done."
        ),
    ] = ""
    crops: Annotated[
        tuple[Crop, ...],
        Field(
            description="With url or job_id: boxes on the pages of the document. They are the images.",
            max_length=MOST_CROPS,
        ),
        BeforeValidator(read_crops),
    ] = ()
    pages: Annotated[
        bool, Strict(), Field(description="With job_id: whether its whole pages are the images. Default: false.")
    ] = False

    @property
    def is_document(self) -> bool:
        """Whether the images are pages or crops, not the illustrations that a job detected."""
        return bool(self.url or self.crops or self.pages)


def _read_source(value: Any) -> Any:
    """Return the fields of a source that are set. A plain text is the URL of a document."""
    if isinstance(value, Source):
        return value
    sent = {"url": value} if isinstance(value, str) else value if isinstance(value, dict) else {}
    known = {name: text.strip() if isinstance(text, str) else text for name, text in sent.items() if name in SOURCES}
    if len(known) != 1:
        raise ValueError(f"must be the URL of a document, or an object with one of {', '.join(SOURCES)}")
    parts = {name: sent[name] for name in PARTS if sent.get(name)}
    if sent.get("crops") == []:
        raise ValueError("has an empty list of crops; leave crops out to compare whole images")
    if len(parts) > 1:
        raise ValueError("has both crops and pages; send one of them")
    if "manifest_url" in known and parts:
        raise ValueError(f"has {next(iter(parts))} with manifest_url; send it with url or job_id")
    if "url" in known and "pages" in parts:
        raise ValueError("has pages with url, whose pages are the images anyway; send url alone")
    return known | parts


def _write_source(source: Source) -> dict[str, Any]:
    found: dict[str, Any] = {name: value for name in SOURCES if (value := getattr(source, name))}
    if source.crops:
        found["crops"] = [
            {name: value for name, value in vars(crop).items() if value and not name.startswith("_")}
            for crop in source.crops
        ]
    return found | ({"pages": True} if source.pages else {})


SOURCES = ("url", "job_id", "manifest_url")
PARTS = ("crops", "pages")
AnySource = Annotated[
    Source, BeforeValidator(_read_source, json_schema_input_type=Address | Source), PlainSerializer(_write_source)
]


def _check_documents(value: Any) -> Any:
    value = parse_text(value)
    if not isinstance(value, dict):
        raise ValueError('must be an object that maps document IDs to URLs: {"id": "https://…"}')
    if isinstance(value, JsonObject) and value.repeated:
        raise ValueError(f"has two documents with the ID {show(value.repeated[0])}")
    return value


def _check_pairs(documents: dict[str, Source]) -> dict[str, Source]:
    if ambiguous := find_ambiguous(documents):
        (a, b), (c, d) = ambiguous
        raise ValueError(
            f"has IDs that give two pairs the same name: {show(a)} with {show(b)}, and {show(c)} with {show(d)}, "
            f"are both {show(name_pair((a, b)))}"
        )
    return documents


def _split_words(value: Any) -> Any:
    """Split the text of a form field: ``hflip, rot90`` or ``["hflip", "rot90"]``."""
    return re.findall(r"[^\s,\[\]\"']+", value) if isinstance(value, str) else value


def _add_unchanged(transpositions: tuple[Transposition, ...]) -> tuple[Transposition, ...]:
    """Return the transpositions without duplicates, preceded by "none": the unchanged image is always compared."""
    return tuple(dict.fromkeys([Transposition.NONE, *transpositions]))


# Fields of requests to compare images and to search for one.
BackboneName = Annotated[
    Label,
    Field(
        description=f"The network that embeds the images: {', '.join(BACKBONES)}, or timm:<name>.",
        json_schema_extra={"pattern": f"^({'|'.join(BACKBONES)}|timm:[a-z0-9_.]+)?$"},
    ),
    AfterValidator(lambda name: find_backbone(name).name),
]
Transpositions = Annotated[
    tuple[Transposition, ...],
    Field(
        description="Transformations of the first image of a pair. The unchanged image is always compared too, "
        "and the best score counts."
    ),
    BeforeValidator(_split_words),
    AfterValidator(_add_unchanged),
]
PoolingName = Annotated[
    str, OneOf(tuple(Pooling)), Field(description="The pooling of the feature maps. Default: that of the model.")
]


@dataclass(frozen=True)
class SimilarityRequest(Request):
    """Compare the images of documents. An empty field selects its default."""

    documents: Annotated[
        dict[Name, AnySource],
        Field(
            description="An object that maps the ID of each document to the source of its images.",
            min_length=1,
            max_length=MOST_DOCUMENTS,
        ),
        BeforeValidator(_check_documents),
        AfterValidator(_check_pairs),
    ]
    model: BackboneName = DEFAULT_BACKBONE
    callback: Annotated[
        Callback,
        Field(
            description="The URL that receives the score files. "
            "Default: CLIENT_APP_URL/similarity, from the settings of the server."
        ),
    ] = ""
    experiment_id: ExperimentId = ""
    notify_url: NotifyUrl = ""
    topk: Annotated[
        int,
        Strict(),
        Field(description="The number of best matches per image.", ge=1, le=LARGEST_TOPK),
        FROM_TEXT,
    ] = DEFAULT_TOPK
    transpositions: Transpositions = (Transposition.NONE,)
    pooling: PoolingName = ""
    verify: Annotated[
        int,
        Strict(),
        Field(
            description="The number of best matches per image that are verified by local features, at most topk. "
            "0 verifies nothing.",
            ge=0,
            le=LARGEST_VERIFY,
        ),
        FROM_TEXT,
    ] = DEFAULT_VERIFY

    kind: ClassVar[str] = "similarity"

    @property
    def host(self) -> str:
        hosts = (read_host(each.url or each.manifest_url) for each in self.documents.values() if not each.job_id)
        return next((host for host, _ in Counter(hosts).most_common(1)), "")


@dataclass(frozen=True)
class ForgetRequest:
    """Delete the stored images, embeddings and scores of documents."""

    documents: Annotated[
        list[Name],
        Field(description='A list of document IDs, such as ["id"].', min_length=1, max_length=MOST_DOC_IDS),
        BeforeValidator(parse_text),
        AfterValidator(lambda doc_ids: list(dict.fromkeys(doc_ids))),
    ]
