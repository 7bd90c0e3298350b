"""How fast pages are looked at, beside the library's own ways and the floor, in one run.

    python bench/detection_speed.py FOLDER-OF-IMAGES

Every way reads the same JPEG files and ends with boxes, but for the floor: the bare forward pass on ready tensors. The
ways take turns; the median over the rounds is printed.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.detection.detector import Detector, DetectorConfig, load_detector  # noqa: E402
from app.detection.weights import ModelStore, isolate_ultralytics  # noqa: E402
from app.pipelines.detection.pages import FetchedPage  # noqa: E402
from app.pipelines.detection.work import load_batches  # noqa: E402

Way = Callable[[], object]


def build_ways(paths: list[Path], weights: Path, batch_size: int) -> dict[str, Way]:
    """Return the ways to look at every page, by name."""
    from ultralytics import YOLO

    detector = load_detector(ModelStore(weights.parent, weights.name).find(), DetectorConfig(batch_size=batch_size))
    library = YOLO(weights)
    options = {"imgsz": 640, "conf": 0.25, "iou": 0.45, "verbose": False, "half": detector.device.type == "cuda"}
    names = [str(path) for path in paths]
    groups = [names[start : start + batch_size] for start in range(0, len(names), batch_size)]
    tensors = prepare(paths, detector, batch_size)
    return {
        "this project": lambda: look(paths, detector),
        "library, weights loaded for each page": lambda: [YOLO(weights).predict(name, **options) for name in names],
        "library, a page at a time": lambda: [library.predict(name, **options) for name in names],
        "library, in batches": lambda: [library.predict(group, batch=len(group), **options) for group in groups],
        "floor: bare forward pass": lambda: [forward(detector, tensor) for tensor in tensors],
    }


def look(paths: list[Path], detector: Detector) -> int:
    pages = [FetchedPage(number, "", path.name, path.name) for number, path in enumerate(paths)]
    batches = load_batches(paths[0].parent, pages, detector.config.batch_size)
    return sum(len(detector.detect([image for _, image in batch if image is not None])) for batch in batches)


def prepare(paths: list[Path], detector: Detector, batch_size: int) -> list[torch.Tensor]:
    """Return ready input of the shape that an upright page has, in batches."""
    shape = (3, 640, 480)
    sizes = [min(batch_size, len(paths) - start) for start in range(0, len(paths), batch_size)]
    format_ = {"memory_format": torch.channels_last}
    return [torch.rand(size, *shape).to(detector.device, detector.dtype, **format_) for size in sizes]


@torch.inference_mode()
def forward(detector: Detector, tensor: torch.Tensor) -> None:
    detector.network(tensor)
    if detector.device.type == "cuda":
        torch.cuda.synchronize()


def measure(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Return the median seconds of each way; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    threads = os.cpu_count() or 1
    for _ in range(rounds + 1):
        for name, way in ways.items():
            torch.set_num_threads(threads)  # the library sets one core less when it chooses a device
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of detection.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=ROOT / "models" / "illustrations.pt")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    isolate_ultralytics()
    paths = sorted(arguments.folder.glob("*.jpg"))[: arguments.pages]
    medians = measure(build_ways(paths, arguments.weights.resolve(), arguments.batch), arguments.rounds)
    floor = medians["floor: bare forward pass"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    print(f"{len(paths)} pages, batches of {arguments.batch}, {device}, torch {torch.__version__}")
    print("| way | pages/s | of the floor |\n| --- | --- | --- |")
    for name, median in medians.items():
        print(f"| {name} | {len(paths) / median:.1f} | {median / floor:.2f} |")


if __name__ == "__main__":
    main()
