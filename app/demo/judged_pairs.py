"""The pairs of a similarity job, each marked as right or wrong.

A pair is right when both of its illustrations were printed from one block and the transposition is the true one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from app.demo.reprint import Woodcut
from app.detection.boxes import compute_iou

LEAST_IOU = 0.5


@dataclass(frozen=True)
class JudgedPair:
    """Two illustrations that the service compared.

    Attributes:
        score: Cosine similarity.
        transposition: Transposition of the first illustration that gave the score.
        names: Names of both illustrations, ``{image stem}_{x},{y},{w},{h}``.
        urls: Addresses of both illustrations.
        blocks: Blocks that they were printed from; "" for a detection that is not a woodcut.
        right: Whether the pair is a true one.
        verdict: Verdict of the verification; "" if the pair was not verified.
        probability: Probability that the block is the same.
    """

    score: float
    transposition: str
    names: tuple[str, str]
    urls: tuple[str, str]
    blocks: tuple[str, str]
    right: bool
    verdict: str = ""
    probability: float = 0.0

    @property
    def is_verified(self) -> bool:
        """Whether the service has found one block in both illustrations."""
        return self.verdict in ("same", "part")


def judge_pairs(
    pairs: Iterable[dict[str, Any]], first: Sequence[Woodcut], second: Sequence[Woodcut]
) -> list[JudgedPair]:
    """Judge the pairs of an answer to ``GET /jobs/<id>/scores/<a>-<b>?format=json``.

    Args:
        pairs: The ``pairs`` of the answer, best first.
        first: Woodcuts of document ``a``.
        second: Woodcuts of document ``b``.
    """
    return [_judge(pair, first, second) for pair in pairs]


def _judge(pair: dict[str, Any], first: Sequence[Woodcut], second: Sequence[Woodcut]) -> JudgedPair:
    images = pair["image_1"], pair["image_2"]
    one, other = find_woodcut(images[0]["name"], first), find_woodcut(images[1]["name"], second)
    right = False
    if one and other:
        turned = "hflip" if one.mirrored != other.mirrored else "none"
        right = one.block == other.block and pair["transposition"] == turned
    return JudgedPair(
        pair["score"],
        pair["transposition"],
        (images[0]["name"], images[1]["name"]),
        (images[0]["url"], images[1]["url"]),
        (one.block if one else "", other.block if other else ""),
        right,
        pair["verdict"] or "",
        pair["probability"] or 0.0,
    )


def find_woodcut(name: str, woodcuts: Iterable[Woodcut]) -> Woodcut | None:
    """Return the woodcut that a detected illustration shows, by the page and the box in its name."""
    stem, _, numbers = name.rpartition("_")
    box = _to_corners(*map(int, numbers.split(",")))
    for woodcut in woodcuts:
        on_page = PurePath(woodcut.page).stem == stem
        if on_page and compute_iou(box, _to_corners(*woodcut.box)).item() >= LEAST_IOU:
            return woodcut
    return None


def _to_corners(x: int, y: int, w: int, h: int) -> np.ndarray:
    return np.array([(x, y, x + w, y + h)], np.float64)


def count_true_pairs(first: Iterable[Woodcut], second: Iterable[Woodcut]) -> int:
    """Return how many blocks both documents have."""
    return len({each.block for each in first} & {each.block for each in second})


def format_table(pairs: Sequence[JudgedPair], headings: tuple[str, str]) -> str:
    """Return a table for the terminal; ``headings`` are the names of both documents."""
    rows = [("rank", "score", *headings, "transposition", "verified", "true block")]
    for rank, pair in enumerate(pairs, 1):
        verified = f"{pair.verdict} {pair.probability:.2f}"
        row = str(rank), f"{pair.score:.3f}", *pair.names, pair.transposition, verified, describe_verdict(pair)
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"  {line.rstrip()}" for line in lines)


def describe_verdict(pair: JudgedPair) -> str:
    """Return whether both illustrations are from one block, and from which."""
    one, other = (block or "not a woodcut" for block in pair.blocks)
    if pair.right:
        return f"yes: {one}"
    if pair.blocks[0] == pair.blocks[1] != "":
        return f"yes: {one}, but wrong transposition"
    return f"no: {one}, {other}"
