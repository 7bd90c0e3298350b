"""Test the synthetic pages, made from drawn pages: grey lines of text, with or without a picture."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.detection.boxes import compute_iou
from app.training.intervals import name_document
from bench.synthesis.beds import lay_on_bed
from bench.synthesis.composition import STEPS, is_visible, set_frame, set_page, set_title
from bench.synthesis.diagrams import draw_diagram
from bench.synthesis.distractors import add_distractors, rubricate
from bench.synthesis.drawings import draw_photograph, draw_plant, draw_roundel, draw_survey
from bench.synthesis.handwriting import set_letter
from bench.synthesis.ink import colour_mask, draw_ink, estimate_paper, extract_ink
from bench.synthesis.ornaments import draw_band, draw_fleuron, draw_tailpiece
from bench.synthesis.setting import Setting
from bench.synthesis.sheets import Sheet, cut_illustrations, format_labels, load_labels, load_sheet
from bench.synthesis.wear import age
from bench.synthesis.whole_pages import set_newspaper, set_title_page
from bench.synthesis.writing import synthesise, write_systems
from bench.synthesis.writing_systems import WRITING_SYSTEMS

PAPER = (230, 220, 200)
TEXTS = (set_title, set_title_page, set_newspaper, set_letter, set_frame, *WRITING_SYSTEMS)
PICTURE = (150, 500, 350, 650)


def draw_page(picture: bool = False) -> np.ndarray:
    """Return a page of 500 by 800 pixels with lines of text, and optionally a picture below them."""
    page = np.full((800, 500, 3), PAPER, np.float32)
    for y in range(80, 420, 18):
        page[y : y + 6, 60:440:3] = 60
    if picture:
        x1, y1, x2, y2 = PICTURE
        page[y1:y2, x1:x2] = np.random.default_rng(1).integers(20, 140, (y2 - y1, x2 - x1, 1))
    return page


def draw_sheet(picture: bool = False, name: str = "print16_a") -> Sheet:
    return Sheet(
        name, draw_page(picture).astype(np.uint8), np.array([PICTURE] if picture else [], float).reshape(-1, 4)
    )


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder with three training pages: two of a print, one of them with a picture, and a third.

    The third is of an incunable, and has a picture and an initial that is labelled as an illustration.
    """
    for part in ("images", "labels"):
        (tmp_path / part / "train").mkdir(parents=True)
    rows = {"print16_a": "", "print16_b": "0 0.5 0.71875 0.4 0.1875\n"}
    rows["incunable15_btv1b8626772v_c"] = "0 0.5 0.71875 0.4 0.1875\n0 0.5 0.2 0.03 0.02\n"
    for name, text in rows.items():
        cv2.imwrite(str(tmp_path / "images" / "train" / f"{name}.jpg"), draw_page(bool(text))[..., ::-1])
        (tmp_path / "labels" / "train" / f"{name}.txt").write_text(text)
    return tmp_path


def test_labels_of_initials_are_left_out(pages: Path) -> None:
    assert len(load_labels(pages / "images" / "train" / "incunable15_btv1b8626772v_c.jpg")) == 1
    assert len(load_labels(pages / "images" / "train" / "print16_a.jpg")) == 0


def test_labels_are_formatted_as_in_the_label_file(pages: Path) -> None:
    labels = load_labels(pages / "images" / "train" / "print16_b.jpg")
    assert format_labels(labels) == "0 0.50000 0.71875 0.40000 0.18750\n"


def test_boxes_are_in_pixels_of_the_resized_page(pages: Path) -> None:
    sheet = load_sheet(pages / "images" / "train" / "print16_b.jpg", 400)
    assert sheet.pixels.shape == (400, 250, 3)
    assert sheet.boxes.tolist() == [[75, 250, 175, 325]]


def test_a_cut_illustration_drawn_on_the_same_paper_is_unchanged() -> None:
    sheet = draw_sheet(picture=True)
    (cut,) = cut_illustrations(sheet)
    page = np.full(sheet.pixels.shape, PAPER, np.float32)
    x1, y1, x2, y2 = PICTURE
    draw_ink(page, cut.ink, x1, y1)
    assert np.abs(page - sheet.pixels)[y1:y2, x1:x2].max() < 1.5
    assert cut.share == 0.4


def test_estimated_paper_has_the_colour_of_the_page_without_text() -> None:
    assert np.abs(estimate_paper(draw_page()) - np.array(PAPER)).max() < 3


@pytest.mark.parametrize("seed", range(20))
def test_drawings_are_valid_ink(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawings = draw_diagram, draw_fleuron, draw_tailpiece, draw_plant, draw_survey, draw_photograph
    for ink in (*(draw(rng) for draw in drawings), draw_band(rng, []), draw_roundel(rng, draw_diagram(rng))):
        assert ink.dtype == np.float32
        assert ink.shape[2] == 3
        assert ink.min() >= 0
        assert ink.max() <= 1
        assert ink.min() < 0.7


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_drawn_ink_lies_within_its_box(step) -> None:
    cuts = cut_illustrations(draw_sheet(picture=True))
    for seed in range(3 if step is set_newspaper else 6):
        s = Setting(np.full((800, 500, 3), PAPER, np.float32), [], np.random.default_rng(seed))
        step(s, cuts)
        outside = extract_ink(s.page, s.paper).min(axis=2) < 0.8
        for x1, y1, x2, y2 in s.boxes:
            assert is_visible(s.page, (x1, y1, x2, y2))
            outside[y1:y2, x1:x2] = False
        if step not in TEXTS:
            assert not outside.any()


def test_illustrations_do_not_cover_each_other() -> None:
    cuts = cut_illustrations(draw_sheet(picture=True))
    for seed in range(12):
        page = set_page(draw_sheet(picture=True), cuts, draw_page(), np.random.default_rng(seed))
        overlaps = compute_iou(page.boxes, page.boxes)
        assert not overlaps[~np.eye(len(overlaps), dtype=bool)].any()
        assert (page.boxes >= 0).all()
        assert (page.boxes <= [*page.pixels.shape[1::-1]] * 2).all()


def test_distractors_do_not_cover_illustrations() -> None:
    for seed in range(12):
        page, rng = draw_page(picture=True), np.random.default_rng(seed)
        before = page.copy()
        add_distractors(page, estimate_paper(page), [PICTURE], rng)
        x1, y1, x2, y2 = PICTURE
        assert np.array_equal(page[y1:y2, x1:x2], before[y1:y2, x1:x2])


def test_rubrics_are_red_or_blue() -> None:
    page = draw_page()
    rubricate(page, estimate_paper(page), np.random.default_rng(3))
    assert (np.ptp(page, axis=2) > 60).any()


def test_ink_that_is_too_faint_is_not_visible() -> None:
    page = np.full((800, 500, 3), PAPER, np.float32)
    draw_ink(page, colour_mask(np.ones((100, 100), np.float32), (0.97, 0.97, 0.97)), 100, 100)
    assert not is_visible(page, (90, 90, 210, 210))
    draw_ink(page, colour_mask(np.ones((100, 100), np.float32), (0.5, 0.5, 0.5)), 100, 100)
    assert is_visible(page, (90, 90, 210, 210))


def test_a_few_dots_that_are_left_of_a_drawing_are_not_visible() -> None:
    page = np.full((800, 500, 3), PAPER, np.float32)
    page[100:300:20, 100:300:20] = 0
    assert not is_visible(page, (100, 100, 300, 300))


def test_aged_pages_keep_their_shape_and_value_range() -> None:
    for seed in range(12):
        page = age(draw_page(), draw_page(picture=True), np.random.default_rng(seed))
        assert page.shape == (800, 500, 3)
        assert page.min() >= 0
        assert page.max() <= 255


def test_the_same_number_and_seed_give_the_same_page(pages: Path, tmp_path: Path) -> None:
    synthesise([pages], tmp_path / "one", 4, seed=5)
    synthesise([pages], tmp_path / "two", 1, seed=5, first=3)
    for part in ("images/train/synthetic_00003.jpg", "labels/train/synthetic_00003.txt"):
        assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()
    assert len(list((tmp_path / "one" / "images" / "train").iterdir())) == 4


def test_pages_that_exist_already_are_kept(pages: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthesise([pages], out, 2, seed=5)
    first, second = (out / "images" / "train" / f"synthetic_0000{number}.jpg" for number in (0, 1))
    first.write_bytes(b"kept")
    (out / "labels" / "train" / "synthetic_00001.txt").unlink()
    second.write_bytes(b"its label is missing")
    synthesise([pages], out, 2, seed=5)
    assert first.read_bytes() == b"kept"
    assert cv2.imread(str(second)) is not None


@pytest.mark.parametrize("set_system", WRITING_SYSTEMS, ids=lambda step: step.__name__)
def test_no_text_covers_a_picture_in_another_writing_system(set_system, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts, placed = cut_illustrations(draw_sheet(picture=True)), []
    place = Setting.place

    def place_and_keep(s: Setting, *arguments: Any, **options: Any) -> bool:
        if done := place(s, *arguments, **options):
            x1, y1, x2, y2 = s.boxes[-1]
            placed.append((s.boxes[-1], s.page[y1:y2, x1:x2].copy()))
        return done

    monkeypatch.setattr(Setting, "place", place_and_keep)
    seen = 0
    for seed in range(20):
        placed.clear()
        s = Setting(np.full((800, 500, 3), PAPER, np.float32), [], np.random.default_rng(seed))
        set_system(s, cuts)
        assert len(s.boxes) == len(placed)
        seen += len(placed)
        for (x1, y1, x2, y2), pixels in placed:
            assert np.array_equal(s.page[y1:y2, x1:x2], pixels)
    assert seen


def test_pages_of_other_systems_are_documents_and_reproducible(pages: Path, tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (pages / part / "train").rename(pages / part / "val")
    for name in ("one", "two"):
        write_systems([pages], tmp_path / name, 2, seed=5)
    written = sorted((tmp_path / "one" / "images" / "val").iterdir())
    assert [path.name.split(".")[0] for path in written[::2]] == ["arabic", "columns", "greek", "leaves"]
    assert len({name_document(path.name) for path in written}) == 8
    for path in written:
        assert path.read_bytes() == (tmp_path / "two" / "images" / "val" / path.name).read_bytes()


@pytest.mark.parametrize("step", [set_letter, set_frame])
def test_writing_and_frames_are_drawn_and_are_no_illustrations(step) -> None:
    s = Setting(np.full((800, 500, 3), PAPER, np.float32), [], np.random.default_rng(1))
    step(s, [])
    assert not s.boxes
    assert (extract_ink(s.page, s.paper).min(axis=2) < 0.8).sum() > 500


@pytest.mark.parametrize("seed", range(8))
def test_a_page_on_a_bed_keeps_its_illustrations(seed: int) -> None:
    page = draw_page(picture=True)
    x1, y1, x2, y2 = PICTURE
    page[y1:y2, x1:x2] = (250, 10, 10)
    bed, boxes = lay_on_bed(page, np.array([PICTURE], float), np.random.default_rng(seed))
    assert max(bed.shape[:2]) == 800
    assert (bed >= 0).all()
    assert (bed <= 255).all()
    ys, xs = np.nonzero(np.abs(bed - (250, 10, 10)).max(axis=2) < 9)
    assert np.abs(boxes[0] - (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)).max() <= 2


def test_a_page_without_illustrations_may_lie_on_a_bed() -> None:
    bed, boxes = lay_on_bed(draw_page(), np.empty((0, 4)), np.random.default_rng(3))
    assert (boxes.shape, bed.dtype) == ((0, 4), np.float32)
