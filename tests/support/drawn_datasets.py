"""Data sets of drawn pages; their illustrations are black rectangles on white."""

import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from app.training.datasets import Dataset, Split, save_dataset


def draw_pages(folder: Path, seed: int, count: int) -> Split:
    """Draw pages into ``<folder>/images`` and ``<folder>/labels``, every third without an illustration."""
    images, labels = folder / "images", folder / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        page, (x, y) = Image.new("RGB", (300, 400), "white"), rng.integers(20, 180, 2).tolist()
        row = ""
        if number % 3:
            ImageDraw.Draw(page).rectangle((x, y, x + 100, y + 100), fill="black")
            row = f"0 {(x + 50) / 300} {(y + 50) / 400} {100 / 300} {100 / 400}\n"
        page.save(images / f"{number}.jpg")
        (labels / f"{number}.txt").write_text(row)
    empty = len(range(0, count, 3))
    return Split(count, count - empty, empty)


def draw_dataset(folder: Path, train: int = 12, val: int = 6) -> Dataset:
    """Draw a data set in the format of the store."""
    splits = {}
    for seed, (split, count) in enumerate({"train": train, "val": val}.items()):
        splits[split] = draw_pages(folder / split, seed, count)
        for kind in ("images", "labels"):
            (folder / kind).mkdir(exist_ok=True)
            (folder / split / kind).rename(folder / kind / split)
        (folder / split).rmdir()
    dataset = Dataset("pages", folder, ("illustration",), splits, time.time())
    save_dataset(dataset)
    return dataset
