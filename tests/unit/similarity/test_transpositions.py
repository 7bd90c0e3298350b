import numpy as np
import pytest

from app.similarity.transpositions import Transposition, transpose


@pytest.mark.parametrize(
    ("transposition", "expected"),
    [
        ("none", [[1, 2, 3], [4, 5, 6]]),
        ("hflip", [[3, 2, 1], [6, 5, 4]]),
        ("vflip", [[4, 5, 6], [1, 2, 3]]),
        ("rot90", [[3, 6], [2, 5], [1, 4]]),
        ("rot180", [[6, 5, 4], [3, 2, 1]]),
        ("rot270", [[4, 1], [5, 2], [6, 3]]),
    ],
)
def test_an_image_is_transposed(transposition: str, expected: list[list[int]]) -> None:
    image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    turned = transpose(np.stack([image] * 3, axis=2), Transposition(transposition))
    assert turned[..., 1].tolist() == expected


def test_every_transposition_is_implemented() -> None:
    assert all(transpose(np.zeros((2, 3, 3), np.uint8), each).size == 18 for each in Transposition)
