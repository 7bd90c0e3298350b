"""Test illustrations that are made of pictures in folders, such as clip art."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.synthesis.engraving import STYLES
from bench.synthesis.motifs import compose_scene, draw_motifs, load_motif

SIDE = 120


def draw_disc(ground: int, disc: int) -> np.ndarray:
    """Return a grey disc on a grey ground, ``(SIDE, SIDE, 3)`` uint8; the disc is 80 pixels wide."""
    pixels = np.full((SIDE, SIDE, 3), ground, np.uint8)
    cv2.circle(pixels, (SIDE // 2, SIDE // 2), 40, (disc,) * 3, -1)
    return pixels


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.png"), draw_disc(255, 20 * number))
    return tmp_path


def test_empty_edges_of_a_picture_are_cut_off(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "disc.png"), draw_disc(255, 60))
    picture = load_motif(tmp_path / "disc.png")
    assert picture is not None
    assert picture.shape == (81, 81, 3)
    assert picture[40, 40] == pytest.approx(60 / 255)


def test_transparent_parts_of_a_picture_are_white(tmp_path: Path) -> None:
    disc = draw_disc(0, 60)
    opacity = 255 * (disc[..., :1] > 0).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "disc.png"), np.concatenate([disc, opacity], axis=2))
    picture = load_motif(tmp_path / "disc.png")
    assert picture is not None
    assert picture.shape == (81, 81, 3)
    assert picture[0, 0] == pytest.approx(1)


def test_a_light_drawing_on_black_is_inverted(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "disc.png"), draw_disc(0, 200))
    picture = load_motif(tmp_path / "disc.png")
    assert picture is not None
    assert picture[0, 0] == pytest.approx(1)
    assert picture[40, 40] == pytest.approx(55 / 255, abs=0.01)


@pytest.mark.parametrize("shape", [(20, 20, 3), (60, 600, 3)], ids=["icon", "too flat"])
def test_unsuitable_pictures_are_left_out(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros(shape, np.uint8))
    (tmp_path / "2.png").write_bytes(b"no image")
    assert draw_motifs([tmp_path], seed=0) == []


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_a_style_draws_the_picture_and_leaves_the_ground_empty(style) -> None:
    picture = draw_disc(255, 40).astype(np.float32) / 255
    for seed in range(8):
        ink = style(picture, np.random.default_rng(seed))
        assert (ink.dtype, ink.shape) == (np.float32, picture.shape)
        assert ink.min() >= 0
        assert ink.max() <= 1
        assert ink[:8, :8].min() > 0.9
        assert ink.min() < 0.7


def test_a_scene_shows_every_picture() -> None:
    discs = [np.full((80, 80, 3), (1, 0, 0), np.float32), np.full((80, 80, 3), (0, 1, 0), np.float32)]
    for seed in range(8):
        scene = compose_scene(discs, np.random.default_rng(seed))
        assert scene.min() >= 0
        assert scene.max() <= 1
        for disc in discs:
            assert (np.abs(scene - disc[0, 0]).max(axis=2) < 0.05).sum() > 400


def test_pictures_become_ink_that_reaches_all_sides_of_its_box(pictures: Path) -> None:
    cuts = draw_motifs([pictures], seed=3)
    assert len(cuts) > 8
    for cut in cuts:
        drawn = cut.ink.min(axis=2) < 0.85
        assert all(side.any() for side in (drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]))
        assert 0 < cut.share < 1


def test_the_same_seed_gives_the_same_ink_and_another_seed_another(pictures: Path) -> None:
    first, same, other = (draw_motifs([pictures], seed=seed) for seed in (3, 3, 4))
    assert [cut.kind for cut in first] == [cut.kind for cut in same]
    assert all(np.array_equal(a.ink, b.ink) for a, b in zip(first, same, strict=True))
    assert [cut.ink.shape for cut in first] != [cut.ink.shape for cut in other]


def test_no_more_pictures_are_chosen_than_asked_for(pictures: Path) -> None:
    assert len(draw_motifs([pictures], seed=3, count=4)) <= 4
