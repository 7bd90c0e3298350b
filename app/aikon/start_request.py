"""The request that starts a task of a front."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator
from pydantic.dataclasses import dataclass

from app.errors import RequestError
from app.jobs.requests import AikonDocument
from app.jobs.requests.aikon_task import DOCUMENT_TYPES, DocumentType
from app.jobs.requests.fields import (
    FROM_TEXT,
    LONGEST_NAME,
    Address,
    ExperimentId,
    Label,
    Model,
    NotifyUrl,
    explain_name,
)
from app.jobs.requests.reading import parse_text, show
from app.jobs.requests.similarity_request import LARGEST_TOPK
from app.similarity.backbones import BACKBONES, find_backbone
from app.similarity.transpositions import Transposition

MOST_DOCUMENTS = 1000
MOST_PAIRS = 100_000
# The front computes a hash of these parameters, with these defaults, to know which scores it has.
DEFAULT_TOPK, DEFAULT_SEGSWAP_N, DEFAULT_FEAT_NET = 20, 10, "dino_deitsmall16_pretrain"
# Largest margin around a region, as a share of its width or height.
LARGEST_MARGIN = 10.0
# Names of postprocessing that older fronts send.
NAMED_POSTPROCESSING: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "none": {},
    "squarify": {"squarify": True},
    "watermarks": {"squarify": True, "h_margin": 0.05, "v_margin": 0.05},
}
# Fields of a request that are not parameters.
NO_PARAMETERS = ("documents", "experiment_id", "notify_url", "parameters")


@dataclass(frozen=True)
class FrontDocument:
    """A document of a request."""

    type: Annotated[DocumentType, Field(description="The type of the source.")]
    src: Annotated[Address, Field(description="The URL of the source.")]
    uid: Annotated[Label, Field(description="The ID of the document. Default: made from the URL.")] = ""

    def as_document(self) -> AikonDocument:
        return AikonDocument(self.uid or re.sub(r"\W+", "_", self.src)[-100:], self.type, self.src)


def _read_documents(value: Any) -> Any:
    value = parse_text(value)
    if not isinstance(value, list):
        raise ValueError('must be a list of objects such as {"type": "iiif", "src": "https://…", "uid": "wit1_man2"}')
    for number, entry in enumerate(value, 1):
        missing = [name for name in ("type", "src") if not isinstance(entry, dict) or not entry.get(name)]
        if missing:
            raise ValueError(f"has no {missing[0]} in entry {number}; send its type, src and uid")
        if entry["type"] not in DOCUMENT_TYPES:
            known = ", ".join(DOCUMENT_TYPES)
            raise ValueError(f"has the type {show(entry['type'])} in entry {number}; send one of {known}")
    return value


def _check_uids(documents: list[FrontDocument]) -> list[FrontDocument]:
    seen: set[str] = set()
    for each in documents:
        if each.uid and (fault := explain_name(each.uid)):
            raise ValueError(f"has the uid {show(each.uid)}, which {fault}")
        uid = each.as_document().uid
        if uid in seen:
            raise ValueError(f"has two documents with the uid {show(uid)}")
        seen.add(uid)
    return documents


def _check_feat_net(name: str) -> str:
    try:
        find_backbone(strip_ending(name))
    except RequestError:
        raise ValueError(f"{show(name)} is not on this server; send one of {', '.join(BACKBONES)}") from None
    return name


def strip_ending(name: str) -> str:
    """Return the name of a network without the ending of its weights file, which some fronts add."""
    return name.removesuffix(".pt").removesuffix(".pth")


def _read_postprocess(value: Any) -> Any:
    value = parse_text(value) if isinstance(value, str) and value.startswith("{") else value
    if isinstance(value, str):
        if value.lower() not in NAMED_POSTPROCESSING:
            raise ValueError(f"is {show(value)}; send an object with squarify, h_margin and v_margin")
        return dict(NAMED_POSTPROCESSING[value.lower()])
    if value is not None and not isinstance(value, dict):
        raise ValueError("must be an object with squarify, h_margin and v_margin")
    found = value or {}
    for name in ("h_margin", "v_margin"):
        margin = found.get(name) or 0
        if type(margin) not in (int, float) or not 0 <= margin <= LARGEST_MARGIN:
            raise ValueError(f"has the {name} {show(margin)}; send a share of the box from 0 to {LARGEST_MARGIN:g}")
    if not isinstance(found.get("squarify", False), bool):
        raise ValueError("has a squarify that is not true or false")
    return {name: found[name] for name in ("squarify", "h_margin", "v_margin") if found.get(name)}


Number = Annotated[int, Strict(), Field(ge=1, le=LARGEST_TOPK), FROM_TEXT]


@dataclass(frozen=True)
class StartRequest:
    """Start a task of an AIKON front. The parameters may be fields, or members of the field parameters."""

    documents: Annotated[
        list[FrontDocument],
        Field(description="The documents of the task.", min_length=1, max_length=MOST_DOCUMENTS),
        BeforeValidator(_read_documents),
        AfterValidator(_check_uids),
    ]
    experiment_id: ExperimentId = ""
    notify_url: NotifyUrl = ""
    parameters: Annotated[
        dict[str, Any], Field(description="Parameters, as an alternative to fields."), BeforeValidator(parse_text)
    ] = Field(default_factory=dict)
    model: Model = ""
    crops: Annotated[
        Any,
        Field(description="Boxes on the pages of documents, which are compared in place of the pages."),
        BeforeValidator(parse_text),
    ] = None
    postprocess: Annotated[
        dict[str, Any],
        Field(description="Changes of the detected boxes: squarify, h_margin and v_margin, as shares of a box."),
        BeforeValidator(_read_postprocess),
    ] = Field(default_factory=dict)
    algorithm: Annotated[
        Literal["cosine", "segswap"],
        Field(description="cosine, or segswap, which is served by the verification with local features."),
    ] = "cosine"
    feat_net: Annotated[
        Label, Field(description="The network that embeds the images."), AfterValidator(_check_feat_net)
    ] = DEFAULT_FEAT_NET
    topk: Annotated[Number, Field(description="The number of best matches per image.")] = DEFAULT_TOPK
    cosine_n_filter: Annotated[Any, Field(description="Another name of topk, which wins.")] = None
    segswap_prefilter: Annotated[
        bool, Field(description="Whether segswap considers only the best matches. false verifies as many as possible.")
    ] = True
    segswap_n: Annotated[Number, Field(description="The number of best matches per image for segswap.")] = (
        DEFAULT_SEGSWAP_N
    )
    transpositions: Annotated[
        list[Transposition],
        Field(description="Transformations of the first image of a pair.", max_length=20),
        BeforeValidator(parse_text),
    ] = Field(default_factory=lambda: [Transposition.NONE])
    skip_pairs: Annotated[
        list[Annotated[str, Field(max_length=2 * LONGEST_NAME + 1)]],
        Field(description="Pairs of documents that are not reported, as <uid>-<uid>.", max_length=MOST_PAIRS),
        BeforeValidator(parse_text),
    ] = Field(default_factory=list)
    index_id: Annotated[Label, Field(description="The tracking_id of the index to search. Only for queries.")] = ""
    dataset: Annotated[Any, Field(description="Not supported: send documents.")] = None

    @model_validator(mode="before")
    @classmethod
    def _merge_parameters(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        parameters = None
        with suppress(ValueError):  # the field reports it
            parameters = parse_text(fields.get("parameters"))
        more = parameters.items() if isinstance(parameters, dict) else ()
        merged = fields | {name: value for name, value in more if name not in NO_PARAMETERS and value not in (None, "")}
        return merged | ({"topk": merged["cosine_n_filter"]} if merged.get("cosine_n_filter") is not None else {})
