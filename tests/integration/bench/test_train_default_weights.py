"""Test the recipe of the default weights with two pages, random weights and tiny images."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from app.detection.weights import isolate_ultralytics, load_network
from app.detection.weights_description import describe
from bench.train_default_weights import INPUT_SIZE, REPEAT, Stage, link_pages, train, write_weights
from tests.support.checkpoints import find_weights

SMALL = Stage(3, epochs=1, learning_rate=0.001, final_rate=0.1, mosaic=0.5, close_mosaic=0, seed=0, size=64)


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Three pages with a dark square: a labelled and an unlabelled one for training, one for validation."""
    for name, labels in (("train/print16_a", "0 0.5 0.5 0.4 0.25\n"), ("train/print16_b", ""), ("val/print17_c", "")):
        page = np.full((400, 250, 3), 220, np.uint8)
        page[150:250, 75:175] = 40
        for part, suffix in (("images", ".jpg"), ("labels", ".txt")):
            (tmp_path / "pages" / part / name).parent.mkdir(parents=True, exist_ok=True)
            path = tmp_path / "pages" / part / f"{name}{suffix}"
            path.write_text(labels) if part == "labels" else cv2.imwrite(str(path), page)
    return tmp_path / "pages"


def build_network():
    isolate_ultralytics()
    from ultralytics.cfg import get_cfg
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    network = DetectionModel("yolov5n.yaml", nc=1, verbose=False).train()
    network.args = get_cfg()
    return network


def test_pages_with_illustrations_are_linked_several_times(pages: Path, tmp_path: Path) -> None:
    dataset = link_pages([pages], tmp_path / "work")
    links = sorted((dataset.folder / "images" / "train").iterdir())
    assert [link.stem for link in links] == [*(f"print16_a_{n}" for n in range(REPEAT)), "print16_b_0"]
    assert links[0].resolve() == pages / "images" / "train" / "print16_a.jpg"
    labels = dataset.folder / "labels" / "train" / "print16_a_2.txt"
    assert labels.read_text() == "0 0.50000 0.50000 0.40000 0.25000\n"
    assert [link.stem for link in (dataset.folder / "images" / "val").iterdir()] == ["print17_c_0"]


def test_a_stage_writes_weights_that_the_service_can_load(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", int)  # other tests use the CPU too
    first = train(SMALL, [pages], [], None, tmp_path / "one")
    network = load_network(first)
    assert network.names == {0: "illustration"}
    # The second stage starts from the first weights: with a learning rate near 0, the parameters stay the same.
    unchanged = Stage(1, epochs=1, learning_rate=1e-12, final_rate=0.1, mosaic=0, close_mosaic=0, seed=1, size=64)
    second = load_network(train(unchanged, [pages], [], first, tmp_path / "two"))
    for name, parameter in network.named_parameters():
        assert torch.allclose(parameter, second.get_parameter(name), atol=1e-3), name


def test_pages_of_chapbooks_are_linked_once(pages: Path, tmp_path: Path) -> None:
    for part, suffix in (("images", ".jpg"), ("labels", ".txt")):
        page = pages / part / "train" / f"print16_a{suffix}"
        page.rename(page.with_stem("nls-chapbooks__1"))
    dataset = link_pages([pages], tmp_path / "work")
    links = sorted((dataset.folder / "images" / "train").iterdir())
    assert [link.stem for link in links] == ["nls-chapbooks__1_0", "print16_b_0"]


def test_written_weights_keep_the_boxes_and_no_paths(pages: Path, tmp_path: Path) -> None:
    network = build_network()
    network.names, network.args = {0: "illustration"}, {"data": "/home/somebody/data.yaml", "imgsz": 64}
    image = torch.rand(1, 3, 64, 64)
    before = network.eval()(image)[0]
    write_weights(network, [pages], tmp_path / "after.pt")
    assert load_network(tmp_path / "after.pt").args == {"task": "detect", "imgsz": INPUT_SIZE, "box_voting": True}
    assert describe(find_weights(tmp_path / "after.pt")).input_size == INPUT_SIZE
    assert b"somebody" not in (tmp_path / "after.pt").read_bytes()
    after = load_network(tmp_path / "after.pt")(image)[0]
    assert torch.allclose(before[:, :4], after[:, :4], atol=0.5)
