"""The task of a front, and the requests of its jobs, from the request that starts it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from app.aikon.crops import check_known, read_crops
from app.aikon.start_request import StartRequest, strip_ending
from app.errors import RequestError
from app.jobs.pairs import list_pairs, name_pair
from app.jobs.requests import AikonDocument, AikonTask, DetectionRequest, Request, SimilarityRequest, read
from app.jobs.requests.reading import show
from app.jobs.requests.similarity_request import LARGEST_VERIFY


@dataclass(frozen=True)
class StartedTask:
    """A task, and the requests of its jobs by the name of each part."""

    task: AikonTask
    jobs: Mapping[str, Request]


def build_regions(body: StartRequest, weights: str, api_url: str) -> StartedTask:
    """Return a task that detects the regions of documents, with a job for each.

    Args:
        body: Request of the front.
        weights: File name of the detection weights.
        api_url: URL at which the front reached the API.
    """
    task = _build_task("regions", body, api_url, body.postprocess)
    jobs = {
        each.uid: read(
            DetectionRequest,
            {"manifest_url": each.src, "model": weights, "notify_url": task.notify_url},
        )
        for each in task.documents
    }
    return StartedTask(task, jobs)


def build_similarity(body: StartRequest, api_url: str) -> StartedTask:
    """Return a task that compares documents, with one job.

    Raises:
        RequestError: The documents cannot be compared.
    """
    parameters = {
        "algorithm": body.algorithm,
        "topk": body.topk,
        "feat_net": body.feat_net,
        "segswap_prefilter": body.segswap_prefilter,
        "segswap_n": body.segswap_n,
        "raw_transpositions": [str(each) for each in body.transpositions],
    }
    task = _build_task("similarity", body, api_url, parameters)
    uids = [each.uid for each in task.documents]
    verify = 0
    if body.algorithm == "segswap":
        verify = min(body.segswap_n, LARGEST_VERIFY) if body.segswap_prefilter else LARGEST_VERIFY
    jobs = _compare(task, body, body.feat_net, verify or body.topk, verify)
    names = {name_pair(order): pair for pair in list_pairs(uids) for order in (pair, pair[::-1])}
    skipped = dict.fromkeys(names[name] for name in body.skip_pairs if name in names)
    return StartedTask(replace(task, skip_pairs=tuple(skipped)), jobs)


def build_indexing(body: StartRequest, api_url: str) -> StartedTask:
    """Return a task that embeds the images of documents, so that queries can search for images among them.

    Raises:
        RequestError: The documents cannot be compared.
    """
    task = _build_task("indexing", body, api_url, {"feat_net": body.feat_net})
    return StartedTask(task, _compare(task, body, body.feat_net, topk=1, verify=0))


def build_query(body: StartRequest, index: AikonTask, api_url: str) -> StartedTask:
    """Return a task that searches for the images of documents in an index.

    Raises:
        RequestError: The documents cannot be compared, or one of them is in the index already.
    """
    indexed = [each.uid for each in index.documents]
    task = _build_task("query", body, api_url, {"topk": body.topk, "index_id": body.index_id, "indexed": indexed})
    for each in task.documents:
        if each.uid in indexed:
            raise RequestError(f"documents: {show(each.uid)} is a document of the index: give the query another uid.")
    task = replace(task, documents=(*task.documents, *index.documents))
    return StartedTask(task, _compare(task, body, index.parameters["feat_net"], body.topk, verify=0))


def _compare(task: AikonTask, body: StartRequest, feat_net: str, topk: int, verify: int) -> dict[str, Request]:
    crops = read_crops(body.crops or [])
    check_known(crops, [each.uid for each in task.documents])
    request = {
        "documents": {each.uid: _find_source(each, crops.get(each.uid)) for each in task.documents},
        "model": strip_ending(feat_net),
        "topk": topk,
        "verify": verify,
        "transpositions": [str(each) for each in body.transpositions],
        "notify_url": task.notify_url,
    }
    return {"all": read(SimilarityRequest, request)}


def _build_task(task: Any, body: StartRequest, api_url: str, parameters: Mapping[str, Any]) -> AikonTask:
    if body.dataset:
        raise RequestError("dataset is not supported: send the documents of the data set in the field documents.")
    documents = tuple(each.as_document() for each in body.documents)
    return AikonTask(
        task=task,
        experiment_id=body.experiment_id or str(uuid.uuid4()),
        documents=documents,
        notify_url=body.notify_url,
        api_url=api_url,
        parameters=dict(parameters),
    )


def _find_source(document: AikonDocument, crops: list[dict[str, Any]] | None) -> dict[str, Any]:
    return {"url": document.src, **({"crops": crops} if crops else {})}
