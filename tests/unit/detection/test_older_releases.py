"""Checkpoints of other releases of ultralytics: older module names, a saved loss, dill, and layers of forks."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.detection.detector import Detector, DetectorConfig
from app.detection.weights import isolate_ultralytics, load_network
from app.detection.weights_description import describe
from app.detection.weights_files.library import load_library
from app.detection.weights_files.pickles import Name
from app.errors import WeightsError
from tests.support.checkpoints import Call, find_weights, make_module, save_network, save_records

# Up to 8.0.94, ultralytics.nn.modules was one module.
ONE_MODULE = (rb"cultralytics\.nn\.modules\.\w+\n", b"cultralytics.nn.modules\n")
# dill writes the type of a set as a call.
DILL = (rb"c__builtin__\nset\n", b"cdill._dill\n_load_type\nX\x03\x00\x00\x00set\x85R")
# Network classes have kept their place; 8.0.109 to 8.0.136 saved a loss that is elsewhere today.
LOSS = (rb"ctests\.unit\.detection\.test_older_releases\nLoss\n", b"cultralytics.vit.utils.loss\nRTDETRDetectionLoss\n")
YOLOV10 = (rb"cultralytics\.nn\.tasks\nDetectionModel\n", b"cultralytics.nn.tasks\nYOLOv10DetectionModel\n")


class Loss(torch.nn.Module):
    """A loss that a release saved as an attribute of the network."""


@pytest.fixture(scope="module", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> None:
    isolate_ultralytics(tmp_path_factory.mktemp("ultralytics"))


def rename(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    """Write a checkpoint again with other names in its pickle; each change must apply."""
    renamed = path.with_name("renamed.pt")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(renamed, "w") as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            for pattern, name in changes if entry.filename.endswith("/data.pkl") else ():
                content, count = re.subn(pattern, lambda _, name=name: name, content)
                assert count
            copy.writestr(entry.filename, content)
    return renamed


@torch.inference_mode()
def run(network: Any) -> torch.Tensor:
    torch.manual_seed(1)
    output: torch.Tensor = network(torch.rand(1, 3, 160, 160))[0]
    return output


def detect(path: Path) -> torch.Tensor:
    return run(load_network(path))


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("yolov8n.yaml", [ONE_MODULE]),
        ("yolov8n.yaml", [DILL, LOSS]),
        ("yolov10n.yaml", [YOLOV10]),
        ("yolov8-rtdetr.yaml", [ONE_MODULE, LOSS]),
    ],
)
def test_checkpoints_of_older_releases_give_the_same_output(
    tmp_path: Path, architecture: str, changes: list[tuple[bytes, bytes]]
) -> None:
    path = save_network(tmp_path / "m.pt", architecture, imgsz=96)
    content = torch.load(path, weights_only=False)
    content["ema"].criterion = Loss() if LOSS in changes else None
    if YOLOV10 in changes:
        content["version"], content["ema"].end2end = "8.2.103", True
    expected = run(content["ema"].float().eval())
    content["ema"].model[-1].__dict__.pop("_end2end", None)  # older releases have no such attribute
    torch.save(content, path)
    renamed = rename(path, *changes)
    assert torch.equal(detect(renamed), expected)
    found = describe(find_weights(renamed))
    assert (found.error, found.input_size, found.classes) == ("", 96, {0: "0", 1: "1"})


def test_a_network_that_is_saved_without_a_dictionary_loads(tmp_path: Path) -> None:
    path = save_network(tmp_path / "m.pt", "yolov8n.yaml")
    expected = detect(path)
    torch.save(torch.load(path, weights_only=False)["ema"], path)
    assert torch.equal(detect(path), expected)


def test_fused_networks_keep_their_forward_pass(tmp_path: Path) -> None:
    path = save_network(tmp_path / "m.pt", "yolov8n.yaml")
    expected = detect(path)
    torch.save({"model": torch.load(path, weights_only=False)["ema"].float().fuse(verbose=False)}, path)
    np.testing.assert_allclose(detect(path), expected, rtol=1e-3, atol=1e-2)


BLOCK = "ultralytics.nn.modules.block"


@pytest.mark.parametrize(
    ("layer", "missing"),
    [
        (make_module(f"{BLOCK}.AAttn", qk=make_module(), v=make_module()), "AAttn.qk"),  # YOLOv12 "turbo"
        (make_module(f"{BLOCK}.C2f_DCN"), "C2f_DCN"),
        (make_module("ultralytics.nn.modules.head.Detect_DyHead"), "Detect_DyHead"),
        (make_module(f"{BLOCK}.C2f", cv9=make_module("torch.nn.modules.linear.Linear")), "C2f.cv9"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_layers_of_forks_are_refused_when_the_file_is_described(tmp_path: Path, layer: Any, missing: str) -> None:
    path = save_records(tmp_path / "x.pt", make_module(model=layer), version="8.3.63")
    library = f"ultralytics {load_library().version}"
    assert describe(find_weights(path)).error == (
        "x.pt was saved by another release of ultralytics (8.3.63) or a fork of it: "
        f"{missing} does not exist in {library} of this server; train the weights again with {library}."
    )


def test_the_arguments_of_a_training_may_have_an_older_type(tmp_path: Path) -> None:
    """https://github.com/ultralytics/ultralytics/issues/576"""
    arguments = Call("ultralytics.yolo.cfg.UltralyticsCFG", (), {"imgsz": 960})
    found = describe(find_weights(save_records(tmp_path / "x.pt", make_module(), train_args=arguments)))
    assert (found.error, found.input_size) == ("", 960)


def test_removed_parts_and_layers_without_successor_are_accepted(tmp_path: Path) -> None:
    layers = make_module(a=make_module(f"{BLOCK}.Silence"), b=make_module(f"{BLOCK}.C2f", cv9=None))
    assert describe(find_weights(save_records(tmp_path / "x.pt", layers))).error == ""


@pytest.mark.parametrize(
    "extra",
    [
        Call("dill._dill._load_type", ("CodeType",)),
        Call("dill._dill._create_code", (0,)),
        Name("dill._dill._import_module"),
        Name("ultralytics.utils.loss.os.system"),
        Name("ultralytics.yolo.utils.checks.check_requirements"),
        Name("ultralytics.nn.modules.block.torch.hub"),
    ],
    ids=lambda each: each.kind,
)
def test_code_in_files_of_dill_and_of_older_releases_is_rejected(tmp_path: Path, extra: Any) -> None:
    with pytest.raises(WeightsError, match=r"^x\.pt (contains|calls) [^\n]* was not loaded"):
        load_network(save_records(tmp_path / "x.pt", make_module(), extra=extra))


def test_a_network_that_lacks_an_attribute_does_not_blame_the_server(tmp_path: Path) -> None:
    network = load_network(save_network(tmp_path / "m.pt", "yolov8n.yaml"))
    del network.model[9].cv1
    detector = Detector(network, DetectorConfig(size=64, device="cpu"))
    with pytest.raises(WeightsError, match=r"^The model does not run with ultralytics [^\n]*cv1[^\n]*train it again"):
        detector.detect([torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()])
