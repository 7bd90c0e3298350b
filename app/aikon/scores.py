"""The result of a similarity job in the form that fronts read: one pair of documents, with its pairs of images."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.jobs.pairs import PairResult
from app.similarity.scored_pairs import ScoredPair, list_scored
from app.similarity.scores import ComparedDocument
from app.similarity.transpositions import Transposition
from app.similarity.verified_pairs import Verdict, VerifiedPair

# Decimal places of a score.
DIGITS = 5


def format_scores(
    result: PairResult, verified: Iterable[VerifiedPair], task: Mapping[str, Any], transpositions: list[str]
) -> dict[str, Any]:
    """Return the scores of two documents.

    The front stores a result under a hash of ``parameters``, which therefore repeats those of the request exactly.
    Pairs without similarity are left out, as the front would drop them.

    Args:
        result: Scores of the two documents.
        verified: Verified pairs of images.
        task: Request of the task, as JSON.
        transpositions: Names of the transpositions of the job.
    """
    a, b = result.a, result.b
    documents = [a] if a.doc_id == b.doc_id else [a, b]
    known = {document["uid"]: document for document in task["documents"]}
    start = len(a.names) if len(documents) == 2 else 0
    found = list_scored(result.scores, verified)
    return {
        "parameters": task["parameters"],
        "index": {
            "sources": {each.doc_id: known[each.doc_id] for each in documents},
            "images": [image for each in documents for image in list_images(each)],
            "transpositions": transpositions,
        },
        "pairs": [*_list_pairs(found, start, task["parameters"]["algorithm"], transpositions)],
    }


def name_image(doc_id: str, name: str) -> str:
    """Return the ID of an image. The front makes ``<doc_id>_<ID>.jpg`` of it, unless it begins with ``wit``."""
    return name if name.startswith("wit") else name.removesuffix(".jpg").removeprefix(f"{doc_id}_")


def list_images(document: ComparedDocument) -> Iterator[dict[str, Any]]:
    """Yield the images of a document as fronts read them."""
    for name, url in zip(document.names, document.urls, strict=True):
        image_id = name_image(document.doc_id, name)
        yield {"id": image_id, "uid": image_id, "src": url, "doc_uid": document.doc_id, "metadata": {}}


def _list_pairs(
    found: Iterable[ScoredPair], start: int, algorithm: str, transpositions: list[str]
) -> Iterator[list[int | float]]:
    """Yield the pairs: two indices of images, the score, and the indices of their transpositions.

    Args:
        found: Pairs of images, best first.
        start: Index of the first image of the second document; 0 if both documents are the same.
        algorithm: ``cosine``, or ``segswap`` for the probability of a verified pair as its score.
        transpositions: Names of the transpositions of the job.
    """
    unchanged, seen = transpositions.index(Transposition.NONE), set()
    for pair in found:
        verification = pair.verification
        score = pair.score
        if algorithm == "segswap":
            is_related = verification is not None and verification.verdict is not Verdict.NONE
            score = verification.probability if verification and is_related else 0.0
        images = pair.first, start + pair.second
        if (score := round(score, DIGITS)) > 0 and (key := frozenset(images)) not in seen:
            seen.add(key)
            yield [*images, score, pair.transposition, unchanged]
