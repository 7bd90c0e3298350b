"""A similarity job that runs step by step, with drawn images and a fake network."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.iiif.fetch import Fetcher
from app.jobs.pairs import ComparisonResult, PairResult, name_pair
from app.pipelines.similarity.comparison import compare
from app.pipelines.similarity.document_embedder import DocumentEmbedder
from app.pipelines.similarity.document_source import DocumentSource
from app.pipelines.similarity.documents import Coverage
from app.pipelines.similarity.download import DownloadPlan, download
from app.pipelines.similarity.embedding_store import EmbeddingStore
from app.pipelines.similarity.feature_store import FeatureStore
from app.pipelines.similarity.image_sources import ImageSource
from app.pipelines.similarity.pair_scores import PairScores
from app.pipelines.similarity.pair_verifier import PairVerifier
from app.similarity.matching import MatchConfig
from app.similarity.transpositions import Transposition, transpose
from app.storage import Storage
from tests.support.library import Answer, Library

SHORTEST = 40


@lru_cache(maxsize=256)
def draw(seed: int, size: tuple[int, int] = (60, 60), mirrored: bool = False) -> bytes:
    """Return an image file; each seed gives another image."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (60, 60), "white")
    for _ in range(12):
        x, y, w, h = random.integers(0, 50, 4)
        ImageDraw.Draw(image).rectangle((x, y, x + w // 2 + 4, y + h // 2 + 4), fill=tuple(random.integers(0, 255, 3)))
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    body = io.BytesIO()
    image.resize(size).save(body, "PNG")
    return body.getvalue()


class Thumbnails:
    """A fake network: an embedding is a thumbnail of the image. Counts its calls; ``before`` may raise."""

    input_size = 32
    dimension = 192

    def __init__(self) -> None:
        self.embedded = 0
        self.loads = 0
        self.before: Callable[[], object] = bool

    def load(self) -> "Thumbnails":
        self.loads += 1
        return self

    def split(self, places: Sequence[int]) -> list[Sequence[int]]:
        """Split places into batches of two."""
        return [places[start : start + 2] for start in range(0, len(places), 2)]

    def run(self, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        return map(work, items)

    def reduce(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return image

    def embed_transposed(
        self, images: Sequence[NDArray[np.uint8]], transpositions: Sequence[Transposition]
    ) -> NDArray[np.float32]:
        self.before()
        self.embedded += len(images) * len(transpositions)
        transposed = [np.ascontiguousarray(transpose(image, each)) for each in transpositions for image in images]
        small = np.stack([cv2.resize(each, (8, 8), interpolation=cv2.INTER_AREA) for each in transposed])
        rows = small.reshape(len(transpositions), len(images), -1).astype(np.float32) - 127.5
        normed: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=2, keepdims=True)
        return normed


class Comparing:
    """A similarity job on lists that a fake server offers.

    Attributes:
        counted: Numbers of images and pairs by kind and status.
        contents: Recorded contents by document ID.
    """

    def __init__(self, root: Path, library: Library, fetcher: Fetcher, job: str = "job") -> None:
        self.storage = Storage(root)
        self.folder = self.storage.job(job)
        self.library = library
        self.fetcher = fetcher
        self.network = Thumbnails()
        self.sources: dict[str, ImageSource] = {}
        self.transpositions: tuple[Transposition, ...] = (Transposition.NONE,)
        self.topk = 20
        self.verify = 0
        self.identity = "thumbnails"
        self.reports: list[tuple[int, int, Coverage | None]] = []
        self.counted: dict[str, int] = {}
        self.contents: dict[str, str] = {}

    def again(self, job: str) -> "Comparing":
        """Return another job with the same storage and documents."""
        other = Comparing(self.storage.root, self.library, self.fetcher, job)
        for doc_id, source in self.sources.items():
            other.list_at(doc_id, source.name)
        return other

    def offer(self, doc_id: str, images: Mapping[str, bytes | Answer], host: str = "127.0.0.1") -> None:
        """Serve a list and its images, whose URLs have the given host, and add it to the job."""
        urls = {}
        for number, (name, image) in enumerate(images.items()):
            answer = image if isinstance(image, Answer) else Answer(body=image)
            urls[name] = self.library.answer(f"/{doc_id}/{number}.png", answer).replace("127.0.0.1", host)
        self.list_at(doc_id, self.library.answer(f"/{doc_id}.json", Answer(body=urls)))

    def list_at(self, doc_id: str, url: str) -> None:
        place, images = self.folder.document_folder(len(self.sources) + 1), self.storage.images
        self.sources[doc_id] = DocumentSource(url, place, url, images, self.fetcher, SHORTEST, max_images=1000)

    def report(self, done: int, total: int, coverage: Coverage | None) -> None:
        self.reports.append((done, total, coverage))

    def count(self, kind: str, status: str, number: int) -> None:
        what = f"{kind} {status}"
        self.counted[what] = self.counted.get(what, 0) + number

    def download(self, retries: int = 0, **options: Any) -> None:
        plan = DownloadPlan(self.fetcher.rules, retries)
        download(self.sources, self.folder, plan, options.get("report", self.report), self.count)

    @property
    def store(self) -> EmbeddingStore:
        return EmbeddingStore(self.storage.embeddings, self.identity)

    @property
    def features(self) -> FeatureStore:
        return FeatureStore(self.storage.features)

    def compare(self, **options: Any) -> None:
        embedder = DocumentEmbedder(self.store, self.transpositions, self.network.load)  # type: ignore[arg-type]
        config = MatchConfig(self.topk, device="cpu")
        scores = PairScores(self.storage.scores, self.store, self.transpositions, config)
        verifier = PairVerifier(self.features, self.verify, threads=2) if self.verify else None
        images = {doc_id: source.cache.folder for doc_id, source in self.sources.items()}
        report = options.get("report", self.report)
        compare(self.folder, images, embedder, scores, verifier, self.contents.__setitem__, report, self.count)

    @property
    def coverage(self) -> Coverage:
        return next(coverage for _, _, coverage in reversed(self.reports) if coverage is not None)

    @property
    def result(self) -> ComparisonResult:
        return ComparisonResult(self.folder, self.sources)

    def list_results(self) -> list[str]:
        return [name_pair(pair) for pair, _ in self.result.list_pairs()]

    def find(self, a: str, b: str) -> PairResult:
        found = self.result.load_pair((a, b))
        assert found is not None
        return found

    def find_best(self, a: str, b: str) -> tuple[str, str, float, str]:
        """Return the names, the score and the transposition of the best match."""
        found = self.find(a, b)
        scores = found.scores
        names = found.a.names[scores.first[0]], found.b.names[scores.second[0]]
        return *names, round(scores.scores[0], 2), self.transpositions[scores.transpositions[0]]
