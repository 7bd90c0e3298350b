"""Train the default weights: a YOLO nano on pages of historical documents, and on synthetic ones made of them.

    python bench/train_default_weights.py --pages PAGES --start yolov5n-custom.pt --out models/illustrations.pt

PAGES is a folder with ``images/{train,val}`` and ``labels/{train,val}`` in YOLO format, split by document. Backbone and
neck start from a YOLOv5-nano checkpoint, by name and shape; the head is new, unless it fits too. Training itself never
sees the validation documents: the last epoch is taken, not the best.
"""

import argparse
import os
import random
import sys
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app.detection.weights import isolate_ultralytics, load_network  # noqa: E402

isolate_ultralytics()

from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402
from ultralytics.utils.torch_utils import intersect_dicts  # noqa: E402

from bench.synthesis.sheets import format_labels, load_labels  # noqa: E402

ARCHITECTURE = "yolov5n.yaml"
SETTINGS = {
    "exist_ok": True,
    "workers": 0,
    "cache": "ram",
    "optimizer": "AdamW",
    "nbs": 16,
    "cos_lr": True,
    "warmup_bias_lr": 0.0,
    "degrees": 2.0,
    "hsv_s": 0.9,
    "hsv_v": 0.5,
    "scale": 0.4,
    "val": False,
    "plots": False,
    "amp": False,
}


def link_pages(pages: Path, folder: Path) -> tuple[list[Path], list[Path]]:
    """Lay the training pages in a folder of their own, with labels that say one thing: see ``load_labels``.

    Returns:
        The pages with illustrations, and those without.
    """
    found: tuple[list[Path], list[Path]] = [], []
    for part in ("images", "labels"):
        (folder / part / "train").mkdir(parents=True, exist_ok=True)
    for image in sorted((pages / "images" / "train").glob("*.jpg")):
        labels, link = load_labels(image), folder / "images" / "train" / image.name
        link.unlink(missing_ok=True)
        link.symlink_to(image.resolve())
        (folder / "labels" / "train" / f"{image.stem}.txt").write_text(format_labels(labels))
        found[not len(labels)].append(link)
    return found


def write_dataset(arguments: argparse.Namespace) -> Path:
    """List the pages of an epoch, each as often as it is seen, and describe them to ultralytics."""
    folder = arguments.work.resolve()
    illustrated, empty = link_pages(arguments.pages, folder / "pages")
    synthetic = (
        sorted((arguments.synthetic.resolve() / "images" / "train").glob("*.jpg")) if arguments.synthetic else []
    )
    empty = random.Random(arguments.seed).sample(empty, round(arguments.empty * len(empty)))
    chosen = illustrated * arguments.repeat + empty + synthetic
    print(f"{len(illustrated)} pages with illustrations, {len(empty)} without, {len(synthetic)} synthetic")
    (folder / "train.txt").write_text("".join(f"{page}\n" for page in chosen))
    data = {"train": str(folder / "train.txt"), "val": str(arguments.pages.resolve() / "images" / "val")}
    (folder / "data.yaml").write_text(yaml.safe_dump({**data, "names": ["illustration"]}))
    return folder / "data.yaml"


class ProcessorTrainer(DetectionTrainer):
    """A detection trainer that is quick on a processor, and starts from given parameters.

    The forward pass is in bfloat16 and channels last, which takes half the time on two cores with AVX-512
    (0.19 to 0.09 seconds for an image of 640 pixels with a YOLO nano); the loss and the parameters stay in float32.
    """

    start: ClassVar[dict[str, torch.Tensor]] = {}

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        model = super().get_model(cfg, weights, verbose)
        kept = intersect_dicts(self.start, model.state_dict())
        model.load_state_dict(kept, strict=False)
        print(f"{len(kept)} of {len(model.state_dict())} parameters start from the given weights")
        return model.to(memory_format=torch.channels_last)

    def _setup_train(self) -> None:
        torch.set_num_threads(os.cpu_count() or 1)  # ultralytics leaves one idle
        super()._setup_train()
        # Of this object, and after its moving average was copied from it: what is saved knows nothing of it.
        forward_quickly(self.model)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = super().preprocess_batch(batch)
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        return batch


def forward_quickly(network: Any) -> None:
    """Let a network of ultralytics see batches of training in bfloat16, and be judged in float32."""
    forward = network.forward

    def forward_batch(batch: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(batch, dict):
            return forward(batch, *args, **kwargs)
        with torch.autocast("cpu", torch.bfloat16):
            predictions = forward(batch["img"])
        return network.loss(batch, in_float32(predictions))

    network.forward = forward_batch


def in_float32(predictions: Any) -> Any:
    """Return predictions, nested as they are, with every tensor in float32."""
    if isinstance(predictions, dict):
        return {name: in_float32(value) for name, value in predictions.items()}
    if isinstance(predictions, (list, tuple)):
        return type(predictions)(in_float32(value) for value in predictions)
    return predictions.float() if isinstance(predictions, torch.Tensor) else predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, help="folder of `python -m bench.synthesis`")
    parser.add_argument("--start", type=Path, help="YOLOv5n checkpoint; without it, training starts from scratch")
    parser.add_argument("--work", type=Path, default=Path("data/training"))
    parser.add_argument("--out", type=Path, default=Path("models/illustrations.pt"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=5, help="how often an epoch shows each page with illustrations")
    parser.add_argument("--empty", type=float, default=1.0, help="share of the pages without illustrations")
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--final-rate", type=float, default=0.01, help="of the learning rate, at the end")
    parser.add_argument("--mosaic", type=float, default=0.5)
    parser.add_argument("--close-mosaic", type=int, default=1, help="last epochs without")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    ProcessorTrainer.start = load_network(arguments.start).state_dict() if arguments.start else {}
    overrides = {
        **SETTINGS,
        "model": ARCHITECTURE,
        "data": str(write_dataset(arguments)),
        "epochs": arguments.epochs,
        "imgsz": arguments.image_size,
        "batch": arguments.batch,
        "lr0": arguments.learning_rate,
        "lrf": arguments.final_rate,
        "mosaic": arguments.mosaic,
        "close_mosaic": arguments.close_mosaic,
        "warmup_epochs": 0.3,
        "seed": arguments.seed,
        "project": str(arguments.work.resolve()),
        "name": "run",
    }
    trainer = ProcessorTrainer(overrides=overrides)
    trainer.train()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(trainer.last.read_bytes())
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
