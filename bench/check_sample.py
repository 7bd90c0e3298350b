"""Compare an annotation file of the sample document with the true boxes.

The command fails if a canvas is missing from the file or has the wrong number of boxes. It also fails if a true box has
no detection with an IoU of at least 0.6.
"""

import argparse
import json
import sys
from pathlib import Path

from app.config import ROOT
from app.demo.contact_sheet import parse_annotations
from app.detection.boxes import compute_iou
from bench.labelled_pages import to_corners

LEAST_IOU = 0.6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="annotation file that a client app received")


def run(arguments: argparse.Namespace) -> None:
    """Exit with all differences if there are any, otherwise print a summary."""
    found = parse_annotations(arguments.file.read_text())
    truth = json.loads((ROOT / "iiif" / "sample" / "truth.json").read_text())
    faults = [f"{name} is missing from the file" for name in truth if name not in found]
    for name in truth.keys() & found.keys():
        true, boxes = to_corners(truth[name]), to_corners(found[name])
        if len(true) != len(boxes):
            faults.append(f"{name}: {len(boxes)} boxes instead of {len(true)}")
        elif len(true) and (least := compute_iou(true, boxes).max(axis=1).min()) < LEAST_IOU:
            faults.append(f"{name}: IoU {least:.2f}")
    if faults:
        sys.exit("; ".join(sorted(faults)))
    print(f"{len(truth)} canvases, {sum(map(len, found.values()))} illustrations: as drawn")
