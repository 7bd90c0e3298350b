import multiprocessing
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

from app import devices
from app.detection.weights import load_network
from app.devices import free_memory
from app.errors import OutOfMemory, TrainingError, WeightsError
from app.images.pixels import decode_image
from app.training.datasets import Dataset
from app.training.history import EpochRecord
from app.training.train import TrainingConfig, count_epochs, find_architecture, save_weights, train
from app.training.trainer import AtomicPath, ThreadedLoader, YoloTrainer, check_float16, read_page
from tests.support import yolov5_networks
from tests.support.drawn_datasets import draw_dataset
from tests.support.small_networks import make_rtdetr, make_yolo, save_checkpoint
from tests.support.yolov5_networks import SIZES
from tests.unit.images.test_orientation import STORED, draw_page, save_tagged

CONFIG = TrainingConfig(epochs=2, size=64, batch_size=4, device="cpu")


class Interruption(Exception):
    pass


class Observer:
    """Records the epochs, and stops the training at a batch."""

    def __init__(self, stop_at: int = 0) -> None:
        self.epochs: list[EpochRecord] = []
        self.batches = 0
        self.stop_at = stop_at

    def tick(self) -> None:
        self.batches += 1
        if self.batches == self.stop_at:
            raise Interruption

    def record_epoch(self, record: EpochRecord) -> None:
        self.epochs.append(record)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return draw_dataset(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("weights") / "start.pt", make_yolo())


def test_epochs_are_reported_and_the_weights_have_the_new_classes(
    start: Path, dataset: Dataset, tmp_path: Path
) -> None:
    observer = Observer()
    train(start, dataset, tmp_path, CONFIG, observer)
    assert [record.epoch for record in observer.epochs] == [1, 2]
    assert observer.batches == 2 * (3 + 1)  # per epoch 3 training batches and 1 validation batch
    assert count_epochs(tmp_path) == 2
    save_weights(tmp_path, tmp_path / "mine.pt", CONFIG)
    network = load_network(tmp_path / "mine.pt")
    assert network.names == {0: "illustration"}
    assert not torch.equal(next(network.parameters()), next(load_network(start).parameters()))


def test_a_training_starts_from_the_parameters_that_fit(start: Path, dataset: Dataset, tmp_path: Path) -> None:
    observer = Observer(stop_at=1)
    with pytest.raises(Interruption):
        train(start, dataset, tmp_path, CONFIG, observer)
    assert count_epochs(tmp_path) == 0
    # After an interruption in the first epoch, the training starts again.
    train(start, dataset, tmp_path, TrainingConfig(1, 64, 4, "cpu"), observer)
    save_weights(tmp_path, tmp_path / "mine.pt", CONFIG)
    before, after = load_network(start).state_dict(), load_network(tmp_path / "mine.pt").state_dict()
    name = "model.0.conv.weight"
    assert 0 < (before[name] - after[name]).abs().max() < 1e-3  # the weights themselves reach 0.3


def test_an_interrupted_training_resumes_after_its_last_epoch(start: Path, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Interruption):
        train(start, dataset, tmp_path, CONFIG, Observer(stop_at=5))
    assert count_epochs(tmp_path) == 1
    observer = Observer()
    train(tmp_path / "gone.pt", dataset, tmp_path, CONFIG, observer)
    assert [record.epoch for record in observer.epochs] == [2]
    assert observer.batches == 3 + 1
    again = Observer()
    train(tmp_path / "gone.pt", dataset, tmp_path, CONFIG, again)
    assert again.batches == 0


def test_the_best_checkpoint_is_restored_after_an_interruption(
    start: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = AtomicPath.write_bytes

    def write_last_or_die(path: AtomicPath, data: bytes) -> int:
        if path.name == "best.pt":
            raise Interruption
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(AtomicPath, "write_bytes", write_last_or_die)
        with pytest.raises(Interruption):
            train(start, dataset, tmp_path, CONFIG, Observer())
    with pytest.raises(Interruption):
        train(start, dataset, tmp_path, CONFIG, Observer(stop_at=1))
    best, last = (tmp_path / "weights" / name for name in ("best.pt", "last.pt"))
    assert best.read_bytes() == last.read_bytes()


def test_a_checkpoint_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = AtomicPath(tmp_path / "last.pt")
    path.write_bytes(b"first")

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        path.write_bytes(b"second")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("last.pt", b"first")]


def test_the_new_weights_contain_no_path_of_this_server(start: Path, dataset: Dataset, tmp_path: Path) -> None:
    train(start, dataset, tmp_path / "training", TrainingConfig(1, 64, 4, "cpu"), Observer())
    save_weights(tmp_path / "training", tmp_path / "mine.pt", CONFIG)
    with zipfile.ZipFile(tmp_path / "mine.pt") as archive:
        (content,) = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    for folder in (tmp_path, dataset.folder, Path.cwd()):
        assert str(folder).encode() not in content


@pytest.mark.parametrize(
    ("dtype", "options"),
    [(np.float32, {}), (np.int32, {}), (np.uint8, {"compression": "zstd"})],
)
def test_pages_that_opencv_cannot_read_are_used_for_training(
    start: Path, tmp_path: Path, dtype: type, options: dict[str, str]
) -> None:
    dataset, observer = draw_dataset(tmp_path / "pages", train=4, val=2), Observer()
    for path in dataset.folder.glob("images/*/*.jpg"):
        with Image.open(path) as image:
            Image.fromarray(np.asarray(image.convert("L")).astype(dtype)).save(path.with_suffix(".tif"), **options)
        path.unlink()
    train(start, dataset, tmp_path / "training", TrainingConfig(1, 64, 4, "cpu"), observer)
    assert len(observer.epochs) == 1


def test_16_bit_pages_are_scaled_as_in_detection(tmp_path: Path) -> None:
    dark = np.full((40, 30), 1000, dtype=np.uint16)
    dark[10:20, 10:20] = 0
    Image.fromarray(dark).save(tmp_path / "page.png")
    pixels = read_page(str(tmp_path / "page.png"))
    assert pixels is not None
    assert (pixels.max(), pixels.min(), pixels.shape) == (255, 0, (40, 30, 3))


@pytest.mark.parametrize("orientation", STORED)
def test_pages_are_read_for_training_as_in_detection(tmp_path: Path, orientation: int) -> None:
    for form, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif")):
        page = draw_page()
        if form != "JPEG":
            page.putalpha(page.convert("L").point(lambda value: 255 * (value < 255)))
        path = tmp_path / f"page{suffix}"
        path.write_bytes(save_tagged(page, orientation, form))
        with path.open("rb") as file:
            expected, _ = decode_image(file, None)
        pixels = read_page(str(path))
        assert pixels is not None
        assert (pixels[..., ::-1] == expected).all()
        assert pixels[0, 0].min() > 250


def test_a_yolov5_gets_a_head_of_ultralytics(dataset: Dataset, tmp_path: Path) -> None:
    start = yolov5_networks.save(tmp_path / "old.pt", model=yolov5_networks.make_network(*SIZES["n"]))
    train(start, dataset, tmp_path / "training", TrainingConfig(1, 64, 4, "cpu"), Observer())
    save_weights(tmp_path / "training", tmp_path / "mine.pt", CONFIG)
    assert type(load_network(tmp_path / "mine.pt")) is DetectionModel


@pytest.mark.parametrize(("size", "p6"), [("n", False), ("n", True), ("s", False), ("m", False)])
def test_all_parameters_of_a_yolov5_except_its_head_are_kept(tmp_path: Path, size: str, p6: bool) -> None:
    network = load_network(
        yolov5_networks.save(tmp_path / "old.pt", model=yolov5_networks.make_network(*SIZES[size], p6=p6))
    )
    new = DetectionModel(find_architecture(network), nc=1, verbose=False).state_dict()
    old = network.state_dict()
    head = f"model.{len(network.model) - 1}."
    assert {name for name in old if name not in new or old[name].shape != new[name].shape} == {
        name for name in old if name.startswith(head)
    }
    assert {name for name in new if name not in old} == {name for name in new if name.startswith(head)}


def test_a_yolov5_of_a_non_standard_size_is_rejected(tmp_path: Path) -> None:
    network = load_network(yolov5_networks.save(tmp_path / "old.pt", model=yolov5_networks.make_network()))
    with pytest.raises(WeightsError, match="its size is none of"):
        find_architecture(network)


def test_an_rtdetr_stays_an_rtdetr(dataset: Dataset, tmp_path: Path) -> None:
    start = save_checkpoint(tmp_path / "start.pt", make_rtdetr())
    train(start, dataset, tmp_path / "training", TrainingConfig(1, 64, 6, "cpu"), Observer())
    save_weights(tmp_path / "training", tmp_path / "mine.pt", CONFIG)
    assert type(load_network(tmp_path / "mine.pt")) is RTDETRDetectionModel


def test_weights_that_cannot_be_loaded_are_rejected(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(WeightsError, match=r"bad\.pt"):
        train(tmp_path / "bad.pt", dataset, tmp_path / "training", CONFIG, Observer())


def test_a_training_that_exceeds_the_memory_resumes_with_half_the_batch(
    start: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free_memory()  # otherwise networks of other tests are dropped before the batch is halved
    prepare, sizes = YoloTrainer.preprocess_batch, []

    def fail_in_second_epoch(trainer: YoloTrainer, batch: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(batch["img"]))
        if trainer.epoch == 1 and sizes[-1] > 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return prepare(trainer, batch)

    monkeypatch.setattr(YoloTrainer, "preprocess_batch", fail_in_second_epoch)
    observer, threads = Observer(), torch.get_num_threads()
    train(start, dataset, tmp_path, CONFIG, observer)
    assert [record.epoch for record in observer.epochs] == [1, 2]
    assert sizes == [4] * 3 + [4] + [2] * 6
    assert torch.get_num_threads() == threads


def test_a_device_without_memory_for_one_page_fails_with_advice(
    start: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(YoloTrainer, "preprocess_batch", fail)
    monkeypatch.setattr(devices, "WAITS", ())
    with pytest.raises(OutOfMemory, match="lower MODEL_SIZE, or train smaller weights"):
        train(start, dataset, tmp_path, TrainingConfig(1, 64, 2, "cpu"), Observer())


def test_a_loss_that_stays_nan_is_an_error_with_advice(
    start: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Training failed: NaN persisted for 4 epochs")

    monkeypatch.setattr(YoloTrainer, "_do_train", fail)
    with pytest.raises(TrainingError, match="check the labels"):
        train(start, dataset, tmp_path, CONFIG, Observer())


def test_a_training_loads_its_pages_without_starting_processes(
    start: Path, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in the child of the gpu worker: "daemonic processes are not allowed to have children".
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    build = DetectionTrainer.get_dataloader

    def build_for_gpu(trainer: YoloTrainer, *arguments: Any) -> Any:
        trainer.args.workers = 1  # ultralytics uses no processes on a CPU
        return build(trainer, *arguments)

    monkeypatch.setattr(DetectionTrainer, "get_dataloader", build_for_gpu)
    observer = Observer()
    train(start, dataset, tmp_path, TrainingConfig(1, 64, 4, "cpu"), observer)
    assert len(observer.epochs) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_load_every_page_once_an_epoch(threads: int) -> None:
    loader = ThreadedLoader(list(range(10)), batch_size=4, shuffle=True)
    loader.threads = threads
    for _ in range(2):
        batches = list(loader)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert sorted(torch.cat(batches).tolist()) == list(range(10))


@pytest.mark.parametrize(("value", "usable"), [(1.0, True), (float("nan"), False)])
def test_float16_is_used_if_its_results_are_finite(value: float, usable: bool) -> None:
    network = make_yolo()
    torch.nn.init.constant_(next(network.parameters()), value)
    assert check_float16(network) is usable
