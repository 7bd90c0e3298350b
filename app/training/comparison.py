"""The comparison images of an evaluation: the ground truth of a page next to its detections."""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from app.images.overlays import DrawnBox, draw_comparison
from app.images.pixels import UNREADABLE
from app.storage import write_atomic
from app.training.labelled_page import LabelledPage, load_page
from app.training.metrics import count_errors

# Maximum number of pages that are drawn: those with most errors. 200 images take 100 MB, and nobody reviews more.
MOST_PAGES = 200
# Longer side of the images, in pixels; enough to see why a box is wrong.
LONGEST = 1600

WITH_TRUTH, WITHOUT_TRUTH = "images", "images-without-truth"


class Comparison:
    """Draws comparison images into a temporary folder, then replaces those of an earlier evaluation.

    Args:
        folder: Output folder of the evaluation.
        class_names: Class names by class id; shown in the images if there are several.
        confidence: Least confidence of the detections that are drawn.
    """

    def __init__(self, folder: Path, class_names: Sequence[str], confidence: float) -> None:
        self._folder = folder
        self._class_names = class_names
        self._confidence = confidence
        self._fresh = folder / ".new"

    def draw(self, pages: Sequence[LabelledPage], paths: Mapping[str, Path]) -> int:
        """Draw the pages with most errors, at most ``MOST_PAGES``, and return how many were drawn.

        Args:
            pages: All pages of the evaluation.
            paths: Image files by name.
        """
        shutil.rmtree(self._fresh, ignore_errors=True)
        for name in (WITH_TRUTH, WITHOUT_TRUTH):
            (self._fresh / name).mkdir(parents=True)
        errors = {page.image_name: count_errors(page, self._confidence) for page in pages}
        chosen = sorted(pages, key=lambda page: (-errors[page.image_name], page.image_name))[:MOST_PAGES]
        return sum(self._draw_page(page, paths[page.image_name]) for page in chosen)

    def replace_images(self) -> None:
        """Replace the images of an earlier evaluation, and delete its report, which no longer matches them."""
        (self._folder / "report.json").unlink(missing_ok=True)
        for name in (WITH_TRUTH, WITHOUT_TRUTH):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self._folder / name)
            os.replace(self._fresh / name, self._folder / name)
        self._fresh.rmdir()

    def _draw_page(self, page: LabelledPage, path: Path) -> bool:
        """Draw a page; return False if its file can no longer be read."""
        try:
            pixels, size = load_page(path, LONGEST)
        except UNREADABLE:
            return False
        image = Image.fromarray(pixels)
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
        # From pixels of the boxes to pixels of the thumbnail. Both sizes are those of the page, without the partial
        # pixel that a reduced decode adds at the edge.
        scale = np.array([image.width / pixels.shape[1] * size[0] / page.size[0]] * 4)
        truth = self._list_boxes(page.true.xyxy * scale, page.true.class_id, None)
        sure = page.found.confidence >= np.float32(self._confidence)
        found = self._list_boxes(page.found.xyxy[sure] * scale, page.found.class_id[sure], page.found.confidence[sure])
        content = BytesIO()
        draw_comparison(image, truth, found, self._confidence).save(content, "JPEG", quality=85)
        kind = WITH_TRUTH if len(page.true) else WITHOUT_TRUTH
        write_atomic(self._fresh / kind / f"{path.stem}.jpg", content.getvalue())
        return True

    def _list_boxes(self, xyxy: np.ndarray, class_id: np.ndarray, confidence: np.ndarray | None) -> list[DrawnBox]:
        names = [self._class_names[each] if len(self._class_names) > 1 else "" for each in class_id.tolist()]
        sure = ["" for _ in names] if confidence is None else [f"{each:.2f}" for each in confidence.tolist()]
        labels = [" ".join(filter(None, words)) for words in zip(names, sure, strict=True)]
        return [DrawnBox(tuple(corners), label) for corners, label in zip(xyxy.tolist(), labels, strict=True)]
