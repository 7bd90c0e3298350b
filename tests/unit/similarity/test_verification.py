"""Verification of pairs: prints of one drawn block, copies of it, parts of it, and other blocks."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.similarity.verification import LocalFeatures, extract_features, verify
from app.similarity.verified_pairs import SAME_BLOCK, Region, Verdict, Verification
from tests.support.drawn_blocks import draw_block, print_block, recut_block

Picture = NDArray[np.uint8]


def compare(first: Picture, second: Picture) -> Verification:
    return verify(extract_features(first), extract_features(second))


def find_corners(found: Verification, region: Region) -> NDArray[np.float64]:
    """Return the opposite corners of a region of the first image, on the second image."""
    x, y, width, height = region
    matrix = np.array(found.transform).reshape(2, 3)
    return np.array([[x, y, 1], [x + width, y + height, 1]]) @ matrix.T


def overlap(one: Region, two: Region) -> float:
    """Return the intersection over union of two regions."""
    left, top = max(one[0], two[0]), max(one[1], two[1])
    right, bottom = min(one[0] + one[2], two[0] + two[2]), min(one[1] + one[3], two[1] + two[3])
    shared = max(0, right - left) * max(0, bottom - top)
    return shared / (one[2] * one[3] + two[2] * two[3] - shared)


def test_two_prints_of_a_block_are_the_same() -> None:
    block = draw_block(1)
    found = compare(print_block(block, 1), print_block(block, 2, ink=0.6))
    assert found.verdict == Verdict.SAME
    assert found.probability > 0.95
    assert found.transform == pytest.approx((1, 0, 0, 0, 1, 0), abs=0.5)


@pytest.mark.parametrize(
    ("turn", "size"),
    [
        (cv2.ROTATE_90_CLOCKWISE, (240, 300)),
        (cv2.ROTATE_180, (300, 240)),
        (cv2.ROTATE_90_COUNTERCLOCKWISE, (240, 300)),
    ],
)
def test_a_turned_print_is_the_same(turn: int, size: tuple[int, int]) -> None:
    block = draw_block(2)
    turned = np.asarray(cv2.rotate(print_block(block, 2), turn), np.uint8)
    found = compare(print_block(block, 1), turned)
    assert found.verdict == Verdict.SAME
    assert found.region_2 is not None
    assert overlap(found.region_2, (0, 0, *size)) > 0.7


def test_a_mirrored_print_is_the_same_and_its_transform_is_mirrored() -> None:
    block = draw_block(3)
    found = compare(print_block(block, 1), np.ascontiguousarray(print_block(block, 2)[:, ::-1]))
    assert found.verdict == Verdict.SAME
    assert found.transform is not None
    assert np.linalg.det(np.array(found.transform).reshape(2, 3)[:, :2]) < 0


def test_a_worn_and_faint_print_is_the_same() -> None:
    block = draw_block(4)
    assert compare(print_block(block, 1), print_block(block, 2, ink=0.35, wear=0.25)).verdict == Verdict.SAME


def test_a_print_of_a_hundred_pixels_is_the_same() -> None:
    block = draw_block(5)
    small = cv2.resize(print_block(block, 2), (120, 96), interpolation=cv2.INTER_AREA)
    assert compare(print_block(block, 1), np.asarray(small, np.uint8)).verdict == Verdict.SAME


def test_a_recut_copy_is_not_the_same() -> None:
    block = draw_block(6)
    found = compare(print_block(block, 1), print_block(recut_block(block, 9), 2))
    assert found.verdict in (Verdict.COPY, Verdict.NONE)
    assert found.probability < 0.5


@pytest.mark.parametrize("seed", range(10, 16))
def test_prints_of_other_blocks_are_not_related(seed: int) -> None:
    found = compare(print_block(draw_block(seed), 1), print_block(draw_block(seed + 50), 2))
    assert (found.verdict, found.region_1, found.transform) == (Verdict.NONE, None, None)
    assert found.probability < 0.05


def test_a_block_set_above_another_is_a_part_with_its_region() -> None:
    upper, lower = draw_block(20), draw_block(21)
    both = np.vstack([print_block(upper, 1), print_block(lower, 2)])
    found = compare(print_block(lower, 3), both)
    assert found.verdict == Verdict.PART
    assert found.region_1 is not None
    assert found.region_2 is not None
    assert overlap(found.region_1, (0, 0, 300, 240)) > 0.7
    assert overlap(found.region_2, (0, 240, 300, 240)) > 0.7


def test_a_cropped_print_is_a_part() -> None:
    block = draw_block(22)
    found = compare(print_block(block, 1), print_block(block, 2)[:, :150])
    assert found.verdict == Verdict.PART
    assert found.region_1 is not None
    assert found.region_1[0] + found.region_1[2] < 170


def test_a_shared_stamp_does_not_relate_two_images() -> None:
    stamp = draw_block(30, 70, 50)

    def stamped(seed: int) -> Picture:
        page = print_block(draw_block(seed), seed)
        page[150:200, 200:270] = print_block(stamp, seed)
        return page

    assert compare(stamped(31), stamped(32)).verdict not in SAME_BLOCK


def test_regions_and_transform_are_in_pixels_of_the_full_size_images() -> None:
    block = draw_block(7)
    first = extract_features(print_block(block, 1), size=(3000, 2400))
    second = extract_features(print_block(block, 2), size=(600, 480))
    found = verify(first, second)
    assert found.region_1 is not None
    assert overlap(found.region_1, (0, 0, 3000, 2400)) > 0.7
    assert find_corners(found, (0, 0, 3000, 2400)) == pytest.approx(np.array([[0, 0], [600, 480]]), abs=3)


@pytest.mark.parametrize(
    ("axis", "corner"), [(1, (1500, 0)), (0, (0, 1200)), ((0, 1), (1500, 1200))], ids=["mirrored", "flipped", "turned"]
)
def test_the_transform_of_a_mirrored_scan_is_exact(axis: int | tuple[int, int], corner: tuple[int, int]) -> None:
    """The scan is four times as large as the picture in which its features are found."""
    scan = np.asarray(cv2.resize(print_block(draw_block(9), 1), (1500, 1200), interpolation=cv2.INTER_CUBIC), np.uint8)
    found = compare(scan, np.ascontiguousarray(np.flip(scan, axis)))
    opposite = (1500 - corner[0], 1200 - corner[1])
    assert find_corners(found, (0, 0, 1500, 1200)) == pytest.approx(np.array([corner, opposite]), abs=1.5)


def test_an_image_is_the_same_as_itself() -> None:
    image = print_block(draw_block(8), 1)
    found = compare(image, image)
    assert (found.verdict, found.probability) == (Verdict.SAME, pytest.approx(1, abs=0.01))


@pytest.mark.parametrize(
    "image",
    [
        np.full((200, 300, 3), 255, np.uint8),
        np.zeros((200, 300, 3), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((20, 20, 3), np.uint8),
        np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8),
        np.zeros((3, 4000, 3), np.uint8),
        np.random.default_rng(0).integers(0, 255, (4000, 20, 3), np.uint8),
        np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8),
    ],
    ids=["white", "black", "one pixel", "tiny", "tiny noise", "line", "tall noise", "noise"],
)
def test_an_image_without_structure_is_related_to_nothing(image: Picture) -> None:
    print_ = print_block(draw_block(9), 1)
    assert compare(image, print_).verdict == Verdict.NONE
    assert compare(print_, image).verdict == Verdict.NONE


def test_stored_features_give_the_same_verdict() -> None:
    block = draw_block(12)
    first, second = (extract_features(print_block(block, seed)) for seed in (1, 2))
    stored = LocalFeatures.unpack(first.pack())
    assert stored.size == first.size
    assert np.array_equal(stored.descriptors, first.descriptors)
    assert verify(stored, second).verdict == verify(first, second).verdict == Verdict.SAME
