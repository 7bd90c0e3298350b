"""Hold an annotation file of the sample document against the true boxes.

    python bench/check_sample.py data/demo/annotations.txt

Ends with an error when a canvas has no line, an illustration is not found (IoU under 0.6), or anything else is.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.demo.contact_sheet import parse_annotations  # noqa: E402
from app.detection.boxes import compute_iou  # noqa: E402

LEAST_IOU = 0.6


def read_corners(boxes: list[list[int]] | list[tuple[int, int, int, int]]) -> np.ndarray:
    """Turn ``x y w h`` into ``(n, 4)`` xyxy."""
    xywh = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def main() -> None:
    found = parse_annotations(Path(sys.argv[1]).read_text())
    truth = json.loads((ROOT / "iiif" / "sample" / "truth.json").read_text())
    faults = [f"{name} has no line" for name in truth if name not in found]
    for name in truth.keys() & found.keys():
        true, boxes = read_corners(truth[name]), read_corners(found[name])
        if len(true) != len(boxes):
            faults.append(f"{name}: {len(boxes)} boxes instead of {len(true)}")
        elif len(true) and (least := compute_iou(true, boxes).max(axis=1).min()) < LEAST_IOU:
            faults.append(f"{name}: IoU {least:.2f}")
    print(
        "; ".join(sorted(faults)) or f"{len(truth)} canvases, {sum(map(len, found.values()))} illustrations: as drawn"
    )
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
