"""Measure how long a search takes among many images, and compare it with the bare matrix product.

Random unit vectors stand for the embeddings of documents. They are stored as a similarity job stores them. Every image
of the documents is the same picture, so every match is verified as a related pair, which takes longer than a stranger.

- ``search alone`` opens the embeddings and finds the 20 best matches, in this process. The floor is the matrix product
  of one query with all embeddings, in float32 in memory.
- ``POST /search`` is the whole answer of a service: upload, job, embedding, search, verification of 10 matches. The
  network has random weights.

``--images-of FOLDER`` measures instead how well sketches replace long embeddings. The images of the folder are embedded
by the backbone ``illustrations`` (25,088 numbers). The table has the share of an image's best matches that are among
the first by sketches, or by the mean over all places.

``first`` means that the files of the embeddings were dropped from the file cache of the operating system. For the
service, it also means that its worker has not loaded the network yet.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import requests
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import select

from app.config import ROOT
from app.database.sessions import Database
from app.database.tables import ClientApp, Document
from app.images.pixels import decode_image
from app.jobs import State
from app.jobs.documents import EmbeddedDocument
from app.jobs.requests import SimilarityRequest, Source
from app.jobs.rows import build_job
from app.pipelines.search import collection
from app.pipelines.similarity.embedding_store import EmbeddingStore, build_content
from app.similarity.backbone_weights import identify
from app.similarity.backbones import find_backbone
from app.similarity.embedder import EmbedderConfig, load_embedder
from app.similarity.exact_search import find_best, sketch_rows
from app.similarity.scores import ComparedDocument
from app.storage import write_atomic
from bench.tables import describe_machine, print_table
from tests.support.service import Service, open_service

JOB = "0" * 32
MATCHES = 20
# Positions of the feature map of the backbone ``illustrations``, and the columns of the table about sketches.
POSITIONS = 14 * 14
SHARES = ((1, 20), (20, 20), (20, 50), (20, 100))
Row = tuple[object, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=100_000, help="number of images (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=50, help="number of documents (default: %(default)s)")
    model = "timm:vit_base_patch16_224"
    parser.add_argument("--model", default=model, help="network with random weights (default: %(default)s)")
    parser.add_argument("--images-of", type=Path, metavar="FOLDER", help="measure the sketches on these images")
    parser.add_argument("--rounds", type=int, default=10, help="number of warm searches (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    if arguments.images_of:
        measure_sketches(arguments.images_of)
        return
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        models.mkdir()
        (models / "illustrations.pt").symlink_to(ROOT / "models" / "illustrations.pt")
        with open_service(Path(folder) / "data", models_folder=models) as service:
            measured = Measurement(service, arguments)
            print(f"{arguments.images} images in {arguments.documents} documents, d = {measured.dimension}")
            print(f"{describe_machine()}\n")
            print_table(("way", "s"), chain(measured.time_search(), measured.time_service()))


class Measurement:
    """The stored documents, and the rows of the table.

    Args:
        service: Running service, which gets the documents and the weights.
        arguments: Arguments of the command.

    Attributes:
        dimension: Length of an embedding.
    """

    def __init__(self, service: Service, arguments: argparse.Namespace) -> None:
        self._service, self._arguments = service, arguments
        folder = service.settings.backbones_folder
        self.dimension = save_random_weights(arguments.model, folder)
        self._storage = service.storage
        self._store = EmbeddingStore(self._storage.embeddings, identify(find_backbone(arguments.model), None, folder))
        page = Image.open(next(iter(sorted((ROOT / "iiif" / "sample").glob("*.jpg")))))
        self._size = page.resize((600, 800)).size
        body = io.BytesIO()
        page.resize(self._size).save(body, "JPEG")
        self._picture = body.getvalue()
        write_atomic(self._storage.cached_image("bench/picture.image"), self._picture)
        count = arguments.images // arguments.documents
        self._documents = [self._save(number, count) for number in range(1, arguments.documents + 1)]

    def _save(self, number: int, count: int) -> EmbeddedDocument:
        """Store a document of random embeddings."""
        digests = [f"{number:032x}{row:032x}" for row in range(count)]
        content, names = build_content(digests), [str(row) for row in range(count)]
        rows = np.random.default_rng(number).standard_normal((count, self.dimension), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        with self._store.draft(content, digests, ["none"], self.dimension) as draft:
            draft.write(0, [rows.astype(np.float16)])
            draft.flush(count)
            draft.finish()
        sizes = [self._size] * count
        files = ["bench/picture.image"] * count
        compared = ComparedDocument(str(number), content, names, names, files, sizes, sizes)
        path = self._storage.job(JOB).document(number, ".compared")
        write_atomic(path, json.dumps(asdict(compared)).encode())
        return EmbeddedDocument(JOB, number, str(number))

    def time_search(self) -> Iterator[Row]:
        """Yield the rows of the search alone."""
        query = np.ones((1, self.dimension), np.float16) / np.float16(self.dimension**0.5)

        def search() -> None:
            opened = collection.open_documents(self._documents, self._storage, self._store, print)
            find_best(query, [each.rows for each in opened], MATCHES, torch.device("cpu"))

        self._drop_cached()
        yield "search alone, first", f"{measure(search):.3f}"
        yield "search alone, warm", self._time_often(search)
        opened = collection.open_documents(self._documents, self._storage, self._store, print)
        embeddings = torch.from_numpy(np.concatenate([each.rows for each in opened])).float()
        vector = torch.from_numpy(query[0]).float()
        yield "floor: bare matrix product", self._time_often(lambda: embeddings @ vector)
        collection._map.cache_clear()  # mapped files cannot be dropped from the file cache

    def time_service(self) -> Iterator[Row]:
        """Yield the rows of whole answers."""
        service, model = self._service, self._arguments.model
        self._add_rows(Database(service.settings.sqlalchemy_url))
        url = f"{service.api}/readyz"
        service.poll(lambda: requests.get(url, timeout=10), lambda answer: answer.status_code == 200)
        self._drop_cached()
        yield "`POST /search`, first", f"{measure(lambda: search(service, self._picture, model)):.3f}"
        yield "`POST /search`, warm", self._time_often(lambda: search(service, self._picture, model))
        plain = self._time_often(lambda: search(service, self._picture, model, verify="0"))
        yield "`POST /search`, warm, `verify=0`", plain

    def _add_rows(self, database: Database) -> None:
        """Add the rows of a finished similarity job."""
        sources = {each.doc_id: Source(url="https://example.org/list") for each in self._documents}
        request = SimilarityRequest(documents=dict(list(sources.items())[:200]), model=self._arguments.model)
        with database.session() as session:
            app_id = session.scalars(select(ClientApp.id).where(ClientApp.app_name == "front")).one()
            job = build_job(JOB, app_id, request)
            job.state, job.finished = State.DONE, time.time()
            session.add(job)
            session.flush()
            for each in self._documents:
                # Any content, because the list of images names the real one.
                ids = {"job_id": JOB, "number": each.number, "doc_id": each.doc_id, "content": "any"}
                session.add(Document(app_id=app_id, source="bench", **ids))
        database.close()

    def _drop_cached(self) -> None:
        """Drop the embeddings from the file cache of the operating system."""
        for path in self._storage.embeddings.rglob("*.npy"):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def _time_often(self, way: Callable[[], object]) -> str:
        taken = [measure(way) for _ in range(self._arguments.rounds)]
        return f"{statistics.median(taken):.3f}"


def save_random_weights(model: str, folder: Path) -> int:
    """Save weights for a network of timm, such as ``timm:resnet18``; return the length of its embeddings."""
    backbone = find_backbone(model)
    network: Any = timm.create_model(backbone.model, pretrained=False)
    folder.mkdir(exist_ok=True)
    torch.save(network.state_dict(), folder / f"{backbone.name.replace(':', '-')}.pth")
    return int(network.num_features)


def measure(way: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def search(service: Service, picture: bytes, model: str, verify: str = "10") -> None:
    """Search for an uploaded image, and check that the answer has the matches."""
    form = {"model": model, "verify": verify, "k": str(MATCHES)}
    answer = requests.post(
        f"{service.api}/search", headers=service.headers, files={"image": picture}, data=form, timeout=60
    ).json()
    if "matches" not in answer:
        service.wait_until_finished(answer["job_id"])
        print(f"An answer took more than 10 s: {answer['message']}")


def measure_sketches(folder: Path) -> None:
    """Print the share of the best matches that shortened embeddings find."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    embedder = load_embedder(find_backbone("illustrations"), ROOT / "models" / "backbones", EmbedderConfig(streams=0))
    batches = embedder.run(lambda batch: embedder.embed([*map(decode, batch)]), embedder.split(paths))
    rows = np.concatenate([*batches]).astype(np.float16)
    means = rows.reshape(len(rows), -1, POSITIONS).astype(np.float32).mean(2)
    ways = {"sketches": sketch_rows(rows), "mean over all places": means / np.linalg.norm(means, axis=1, keepdims=True)}
    best = rank(rows)
    head = [f"best {count} in the first {first}" for count, first in SHARES]
    print(f"{len(rows)} images, d = {rows.shape[1]}; {describe_machine()}\n")
    print_table(
        ["searched by", "numbers", *head],
        [[way, each.shape[1], *compare(best, rank(each))] for way, each in ways.items()],
    )


def decode(path: Path) -> NDArray[np.uint8]:
    with path.open("rb") as file:
        return decode_image(file, 448, min)[0]


def rank(rows: NDArray[Any]) -> NDArray[np.intp]:
    """Return the other images for each image, best first."""
    scores = rows.astype(np.float32) @ rows.astype(np.float32).T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :-1]


def compare(best: NDArray[np.intp], found: NDArray[np.intp]) -> Iterator[str]:
    for count, first in SHARES:
        shares = [len({*one[:count]} & {*other[:first]}) / count for one, other in zip(best, found, strict=True)]
        yield f"{statistics.mean(shares):.3f}"
