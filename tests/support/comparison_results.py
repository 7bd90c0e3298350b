"""The files of a finished similarity job."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations_with_replacement

import numpy as np

from app.similarity.matching import Matches
from app.similarity.scores import ComparedDocument, pack_scores
from app.similarity.verified_pairs import Verdict, Verification, VerifiedPair, pack_verified
from app.storage import JobFolder, name_scores, write_atomic

MIRRORED = VerifiedPair(
    0, 1, Verification(Verdict.SAME, 0.98767, 41, (0, 0, 90, 50), (10, 0, 90, 50), (-1.0, 0.0, 100.0, 0.0, 1.0, 0.0))
)


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
