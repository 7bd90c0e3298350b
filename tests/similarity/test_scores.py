import io
import json

import numpy as np

from app.similarity.matching import Matches
from app.similarity.scores import format_scores, format_scores_json
from app.similarity.transpositions import Transposition

MATCHES = Matches(
    np.array([1, 0]),
    np.array([0, 2]),
    np.array([0.98765432, -0.00001234567], np.float32),
    np.array([1, 0]),
)
A, B = ["wit1_man191_0009_166,1325,578,516", "ē n.jpg"], ["x.jpg", "y.jpg", "z" * 300]


def test_a_score_file_is_read_without_pickle() -> None:
    rows = np.load(io.BytesIO(format_scores(MATCHES, A, B)), allow_pickle=False)
    assert rows.shape == (2, 3)
    assert rows.dtype.kind == "U"
    assert rows[:, 1:].tolist() == [["ē n.jpg", "x.jpg"], ["wit1_man191_0009_166,1325,578,516", "z" * 300]]


def test_scores_parse_with_at_least_six_digits() -> None:
    rows = np.load(io.BytesIO(format_scores(MATCHES, A, B)))
    for row, score in zip(rows, MATCHES.scores, strict=True):
        assert abs(float(row[0]) / float(score) - 1) < 1e-6


def test_documents_without_matches_have_a_score_file_too() -> None:
    nobody = np.empty(0, np.int64)
    rows = np.load(io.BytesIO(format_scores(Matches(nobody, nobody, np.empty(0, np.float32), nobody), [], [])))
    assert rows.shape == (0, 3)


def test_records_say_names_addresses_and_how_the_first_was_turned() -> None:
    records = format_scores_json(
        MATCHES, A, B, ["http://a/0", "http://a/1"], ["http://b/0", "http://b/1", "http://b/2"],
        [Transposition.NONE, Transposition.HFLIP],
    )  # fmt: skip
    assert json.loads(json.dumps(records))[0] == {
        "score": 0.9876543,
        "transposition": "hflip",
        "image_1": {"name": "ē n.jpg", "url": "http://a/1"},
        "image_2": {"name": "x.jpg", "url": "http://b/0"},
    }
    assert records[1]["transposition"] == "none"
