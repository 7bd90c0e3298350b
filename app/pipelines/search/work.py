"""Search for an image: embed it, find the best matches, verify them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.detection.streams import count_cores
from app.errors import RequestError
from app.images.pixels import map_ahead
from app.jobs.documents import EmbeddedDocument
from app.pipelines.search.collection import SearchedDocument, open_documents
from app.pipelines.search.query_image import QueryImage
from app.pipelines.similarity.embedding_store import EmbeddingStore
from app.pipelines.similarity.feature_store import FeatureStore
from app.pipelines.similarity.pair_verifier import verify_same
from app.similarity.embedder import Embedder
from app.similarity.exact_search import LONGEST, Half, Hit, find_best, sketch_rows
from app.similarity.scored_pairs import format_verification
from app.similarity.transpositions import Transposition
from app.similarity.verification import LocalFeatures, extract_features, verify
from app.similarity.verification.local_features import SIDE
from app.similarity.verified_pairs import SAME_BLOCK, Verification, VerifiedPair, enlarge
from app.storage import Storage, write_atomic

# Number of best matches by sketches whose whole embeddings are compared.
RESCORED = 500


@dataclass(frozen=True)
class SearchPlan:
    """The parameters of a search.

    Attributes:
        k: Number of matches.
        verify: Number of best matches to verify.
        transpositions: Transpositions of the image; the first one is ``none``.
    """

    k: int
    verify: int
    transpositions: tuple[Transposition, ...]


@dataclass(frozen=True)
class Stores:
    """The stores that a search reads.

    Attributes:
        storage: Data folder.
        embeddings: Embeddings by the backbone of the search.
        features: Local features.
    """

    storage: Storage
    embeddings: EmbeddingStore
    features: FeatureStore


def search(
    query: QueryImage,
    found: Sequence[EmbeddedDocument],
    stores: Stores,
    embedder: Embedder,
    plan: SearchPlan,
    report: Callable[[int], None],
) -> dict[str, Any]:
    """Return the result of a search as JSON.

    Args:
        query: Image to search for.
        found: Documents to search in, the preferred rows first.
        stores: Stores of the documents.
        embedder: Embedder of the backbone.
        plan: Parameters of the search.
        report: Called with the number of documents that are open, while they are prepared.

    Raises:
        RequestError: No document has embeddings any more.
    """
    documents = open_documents(found, stores.storage, stores.embeddings, report)
    if not documents:
        raise RequestError("The embeddings of your documents are no longer on this server: compare them again.")
    pixels = query.decode(2 * embedder.input_size, min)
    embeddings = embedder.embed_transposed([pixels], plan.transpositions)[:, 0].astype(np.float16)
    hits = _find_hits(embeddings, documents, max(plan.k, plan.verify), embedder)
    verified = _verify(query, hits[: plan.verify], documents, stores)
    pairs = [*zip(hits, verified + [None] * (len(hits) - len(verified)), strict=True)]
    pairs.sort(key=lambda pair: _rank(*pair))
    return {
        "documents": len(documents),
        "images": sum(len(document.rows) for document in documents),
        "matches": [_describe(hit, found, documents[hit.array], plan) for hit, found in pairs[: plan.k]],
    }


def save_result(path: Path, result: dict[str, Any]) -> None:
    write_atomic(path, json.dumps(result, ensure_ascii=False).encode())


def _find_hits(embeddings: Half, documents: Sequence[SearchedDocument], count: int, embedder: Embedder) -> list[Hit]:
    """Return the best hits by the whole embeddings, among the best by sketches if the embeddings are long."""
    arrays = [document.rows for document in documents]
    if embeddings.shape[1] <= LONGEST:
        return find_best(embeddings, arrays, count, embedder.device)
    hits = find_best(sketch_rows(embeddings), arrays, max(count, RESCORED), embedder.device)
    whole = embeddings.astype(np.float32)
    scored = []
    for hit in hits:
        scores = whole @ documents[hit.array].whole_rows[hit.row].astype(np.float32)
        scored.append(replace(hit, score=float(scores.max()), transposition=int(scores.argmax())))
    return sorted(scored, key=lambda hit: -hit.score)[:count]


def _verify(
    query: QueryImage, hits: Sequence[Hit], documents: Sequence[SearchedDocument], stores: Stores
) -> list[Verification | None]:
    """Verify hits. The result is None for an image whose local features and file are no longer on this server."""
    if not hits:
        return []
    features = extract_features(query.decode(2 * SIDE, max), query.file_size)
    digest = "" if query.box else hashlib.sha256(query.path.read_bytes()).hexdigest()

    def check(hit: Hit) -> Verification | None:
        document = documents[hit.array]
        other = _load_features(document, hit.row, stores)
        if other is None:
            return None
        is_same = document.digests[hit.row] == digest
        verified = verify_same(other) if is_same else verify(features, other)
        pair = VerifiedPair(0, hit.row, verified)
        sizes, file_sizes = document.compared.sizes[hit.row], document.compared.file_sizes[hit.row]
        return enlarge(pair, (query.size, sizes), (query.file_size, file_sizes)).verification

    return list(map_ahead(check, hits, count_cores()))


def _load_features(document: SearchedDocument, row: int, stores: Stores) -> LocalFeatures | None:
    file = stores.storage.cached_image(document.compared.files[row])
    try:
        return stores.features.find_or_compute(document.digests[row], file)
    except FileNotFoundError:
        return None


def _rank(hit: Hit, found: Verification | None) -> tuple[float, float]:
    """Return the sort key of a match: verified ones first, by their probability, then all others by their score."""
    is_same = found is not None and found.verdict in SAME_BLOCK
    return -found.probability if found and is_same else 1.0, -hit.score


def _describe(hit: Hit, found: Verification | None, document: SearchedDocument, plan: SearchPlan) -> dict[str, Any]:
    compared = document.compared
    return {
        "score": float(f"{min(1.0, max(-1.0, hit.score)):.7g}"),  # the embeddings are rounded
        "transposition": plan.transpositions[hit.transposition],
        "document": document.doc_id,
        "image": {"name": compared.names[hit.row], "url": compared.urls[hit.row]},
        **format_verification(found),
    }
