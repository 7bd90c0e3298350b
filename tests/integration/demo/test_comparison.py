"""The comparison of the demo, without the service: the included models find every woodcut in the reprint again."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.config import ROOT
from app.demo import __main__ as demo
from app.demo.client_app import serve
from app.demo.iiif_server import create_iiif_server
from app.demo.judged_pairs import JudgedPair, judge_pairs
from app.demo.reprint import Woodcut
from app.detection.detector import DetectorConfig
from app.detection.loading import load_detector
from app.detection.weights import Weights
from app.images.overlays import FOUND, TRUE
from app.similarity.backbones import find_backbone
from app.similarity.embedder import EmbedderConfig, load_embedder
from app.similarity.matching import MatchConfig, match
from app.similarity.transpositions import Transposition
from app.similarity.verification import extract_features, verify
from tests.integration.demo.conftest import SAMPLE
from tests.integration.demo.test_contact_sheet import read_marks

TRANSPOSITIONS = (Transposition.NONE, Transposition.HFLIP)
Illustrations = dict[str, np.ndarray]


def detect(folder: Path) -> Illustrations:
    """Return the detected illustrations of a document, by the names that a similarity job gives them."""
    detector = load_detector(Weights.at(ROOT / "models" / "illustrations.pt"), DetectorConfig(device="cpu"))
    found = {}
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            page = np.asarray(image.convert("RGB"))
        (detections,) = detector.detect([page])
        for x, y, w, h in detections.xywh().tolist():
            found[f"{path.stem}_{x},{y},{w},{h}"] = page[y : y + h, x : x + w]
    return found


def compare(first: Illustrations, second: Illustrations) -> list[dict[str, object]]:
    """Return the pairs as ``GET /jobs/<id>/scores/<a>-<b>?format=json`` answers them."""
    backbone = find_backbone(demo.BACKBONE)
    embedder = load_embedder(backbone, ROOT / "models" / "backbones", EmbedderConfig(device="cpu"))
    one = embedder.embed_transposed(list(first.values()), TRANSPOSITIONS)
    matches = match(list(one), embedder.embed(list(second.values())), MatchConfig(20, device="cpu"))
    features = [[extract_features(np.asarray(image)) for image in each.values()] for each in (first, second)]
    columns = matches.scores, matches.first, matches.second, matches.transpositions
    pairs: list[dict[str, object]] = []
    for score, i, j, code in zip(*columns, strict=True):
        verified = verify(features[0][i], features[1][j])
        pairs.append(
            {
                "score": float(score),
                "transposition": TRANSPOSITIONS[code],
                "image_1": {"name": list(first)[i], "url": ""},
                "image_2": {"name": list(second)[j], "url": ""},
                "verdict": verified.verdict,
                "probability": verified.probability,
            }
        )
    return pairs


def test_the_best_pairs_are_the_true_ones_by_a_margin(
    woodcuts: list[Woodcut], reprint: tuple[Path, list[Woodcut]]
) -> None:
    folder, reprinted = reprint
    pairs = judge_pairs(compare(detect(SAMPLE), detect(folder)), woodcuts, reprinted)
    assert [pair.right for pair in pairs[:5]] == [True] * 4 + [False]
    assert pairs[3].score - pairs[4].score > 0.1
    assert [pair.is_verified for pair in pairs[:5]] == [True] * 4 + [False]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The sample document, served on loopback; the demo writes to ``tmp_path``."""
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    with serve(create_iiif_server(SAMPLE)) as url:
        yield url


def build_pair(library: str, right: bool) -> JudgedPair:
    url = f"{library}/iiif/page_0001.jpg/367,638,1005,1244/max/0/default.jpg"
    blocks = ("herb", "herb") if right else ("herb", "ship")
    return JudgedPair(0.9, "none", ("page_0001_367,638,1005,1244", "leaf_0001_1,2,3,4"), (url, url), blocks, right)


def test_the_demo_draws_the_best_pairs_and_the_next(
    library: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo.show_pairs([build_pair(library, right) for right in (True, True, False, False)], count=2)
    assert "2 of the 2 best pairs are two prints of one block." in capsys.readouterr().out
    assert [colour == TRUE for colour in read_marks(tmp_path / "pairs.png")] == [True, True, False]


@pytest.mark.parametrize(("rights", "marks"), [((True, False), [TRUE, FOUND]), ((True,), [TRUE])])
def test_the_demo_fails_when_a_best_pair_is_wrong_or_missing(
    library: str, tmp_path: Path, rights: tuple[bool, ...], marks: list[tuple[int, ...]]
) -> None:
    with pytest.raises(SystemExit, match="1 of the 2 best pairs are wrong or missing"):
        demo.show_pairs([build_pair(library, right) for right in rights], count=2)
    assert read_marks(tmp_path / "pairs.png") == marks
