"""The files of a finished similarity job."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations_with_replacement

import numpy as np

from app.similarity.matching import Matches
from app.similarity.scores import ComparedDocument, pack_scores
from app.similarity.verified_pairs import MAGIC, Verdict, Verification, VerifiedPair, pack_row
from app.storage import JobFolder, Storage, name_scores, write_atomic
from tests.support.archives import make_image

MIRRORED = VerifiedPair(
    0, 1, Verification(Verdict.SAME, 0.98767, 41, (0, 0, 90, 50), (10, 0, 90, 50), (-1.0, 0.0, 100.0, 0.0, 1.0, 0.0))
)


def pack_verified(pairs: Iterable[VerifiedPair]) -> bytes:
    """Return the content of a file with verified pairs."""
    return MAGIC + b"".join(map(pack_row, pairs))


def save_result(folder: JobFolder, doc_ids: Sequence[str]) -> None:
    """Save the scores of documents with two images each. Image 1 of one is image 2 of the other, mirrored.

    This pair is verified, the others are not. The image files have half the size of the images.
    """
    for number, doc_id in enumerate(doc_ids, 1):
        urls = [f"https://library.example/{doc_id}/{name}" for name in (1, 2)]
        files, sizes, halves = [f"{doc_id}/{name}.image" for name in (1, 2)], [(200, 100)] * 2, [(100, 50)] * 2
        compared = ComparedDocument(doc_id, f"content of {doc_id}", ["1", "2"], urls, files, sizes, halves)
        write_atomic(folder.document(number, ".compared"), json.dumps(asdict(compared)).encode())
    places = {doc_id: number for number, doc_id in enumerate(doc_ids, 1)}
    matches = Matches(np.array([0, 1]), np.array([1, 0]), np.array([0.9, 0.5], np.float32), np.array([1, 0]))
    for a, b in combinations_with_replacement(sorted(doc_ids), 2):
        name = name_scores(f"content of {a}", f"content of {b}")
        write_atomic(folder.scores(places[a], places[b], name), pack_scores(matches))
        write_atomic(folder.verified(places[a], places[b], name), pack_verified([MIRRORED]))


# Documents and numbers of two images, and the result of their verification.
Verified = Mapping[tuple[str, int, str, int], Verification]
SAME = Verification(Verdict.SAME, 0.96, 40, (2, 1, 20, 12), (1, 2, 20, 12), (1.0, 0.0, -1.0, 0.0, 1.0, 1.0))
NONE = Verification(Verdict.NONE)


def save_verified(storage: Storage, job_id: str, images: Mapping[str, Sequence[str]], verified: Verified) -> None:
    """Save verified pairs of images, and the images of 30 x 20 pixels in the cache.

    Args:
        storage: Storage of the service.
        job_id: ID of the job.
        images: Names of the images by document ID, in the order of the request.
        verified: Results; of two documents, the first one in alphabetical order comes first.
    """
    folder, numbers = storage.job(job_id), {doc_id: number for number, doc_id in enumerate(images, 1)}
    for doc_id, names in images.items():
        urls = [f"https://library.example/{doc_id}/{name}" for name in names]
        files = [f"{job_id}/{numbers[doc_id]}-{place}.image" for place in range(len(names))]
        for file in files:
            write_atomic(storage.cached_image(file), make_image(size=(30, 20)))
        sizes = [(60, 40)] * len(names), [(30, 20)] * len(names)
        compared = ComparedDocument(doc_id, f"content of {doc_id}", names, urls, files, *sizes)
        write_atomic(folder.document(numbers[doc_id], ".compared"), json.dumps(asdict(compared)).encode())
    for a, b in combinations_with_replacement(sorted(images), 2):
        pairs = [VerifiedPair(i, j, found) for (one, i, other, j), found in verified.items() if (one, other) == (a, b)]
        name = name_scores(f"content of {a}", f"content of {b}")
        write_atomic(folder.verified(numbers[a], numbers[b], name), pack_verified(pairs))
