"""The request of an AIKON front, as the row of its job stores it. ``app/aikon`` reads the requests of fronts."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from app.jobs.requests.fields import Address, ExperimentId, Name, OptionalAddress
from app.jobs.requests.reading import Request

DocumentType = Literal["iiif", "zip", "pdf", "url_list"]
DOCUMENT_TYPES: tuple[DocumentType, ...] = ("iiif", "zip", "pdf", "url_list")


@dataclass(frozen=True)
class AikonDocument:
    """A document of a front.

    Attributes:
        uid: ID of the document in the front.
        type: Type of the source, as the front states it. The content of the source decides how it is read.
        src: URL of the source.
    """

    uid: Name
    type: DocumentType
    src: Address


@dataclass(frozen=True)
class AikonTask(Request):
    """A task of a front. Its job does nothing itself: its parts are jobs, and their events report the task.

    Attributes:
        task: Name of the task in the addresses of the front.
        experiment_id: ID of the treatment in the front, which every event repeats.
        documents: Documents in the order of the request.
        notify_url: URL that receives the events; "" for none.
        api_url: URL at which the front reached this API. The URLs of the results start with it.
        parameters: Parameters that the results repeat, or that their format depends on.
        skip_pairs: Pairs of documents that the front has already. They are not reported.
    """

    task: Literal["regions", "similarity", "indexing", "query"]
    experiment_id: ExperimentId
    documents: Annotated[tuple[AikonDocument, ...], Field(min_length=1)]
    notify_url: OptionalAddress
    api_url: str
    parameters: dict[str, Any]
    skip_pairs: tuple[tuple[str, str], ...] = ()

    kind: ClassVar[str] = "aikon"
