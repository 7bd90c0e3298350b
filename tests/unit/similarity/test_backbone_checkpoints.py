import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from app.errors import BackboneError
from app.similarity.backbones import find_backbone
from app.similarity.networks import load_network
from tests.support.published_backbones import build_resnet, format_moco

RESNET34 = find_backbone("resnet34")
MOCO = find_backbone("moco_v2_800ep_pretrain")


class RunsCode:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return dict(build_resnet("resnet34").state_dict())


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it-ran"
    torch.save({"state_dict": RunsCode(mark)}, tmp_path / "resnet34.pth")
    with pytest.raises(BackboneError, match=r"resnet34\.pth cannot be loaded safely"):
        load_network(RESNET34, tmp_path / "resnet34.pth")
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_file_is_rejected(tmp_path: Path, state: dict[str, torch.Tensor], suffix: str) -> None:
    path = tmp_path / f"resnet34{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    path.write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(BackboneError, match="damaged"):
        load_network(RESNET34, path)


@pytest.mark.parametrize("content", [b"", b"<!doctype html>", b"PK\x03\x04", b"\x80\x04."])
def test_a_file_of_another_type_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "resnet34.pth"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match="damaged"):
        load_network(RESNET34, path)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": 3}, torch.zeros(3), {"a": "b"}])
def test_a_file_without_weights_is_rejected(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "resnet34.pth")
    with pytest.raises(BackboneError, match="does not contain weights"):
        load_network(RESNET34, tmp_path / "resnet34.pth")


def test_weights_of_another_architecture_are_rejected(tmp_path: Path, publish: Callable[[str], Path]) -> None:
    for backbone, other in ((RESNET34, "dino_deitsmall16_pretrain"), (MOCO, "resnet34")):
        with pytest.raises(BackboneError, match=f"{other}.pth contains the weights of another network"):
            load_network(backbone, publish(other) / f"{other}.pth")
    torch.save(format_moco(build_resnet("resnet34").state_dict()), tmp_path / "moco.pth")
    with pytest.raises(BackboneError, match="another network"):
        load_network(MOCO, tmp_path / "moco.pth")


def test_a_transformer_with_larger_patches_is_rejected(publish: Callable[[str], Path]) -> None:
    path = publish("dino_deitsmall16_pretrain") / "dino_deitsmall16_pretrain.pth"
    with pytest.raises(BackboneError, match="another network"):
        load_network(find_backbone("dino_vitbase8_pretrain"), path)


def test_missing_and_surplus_weights_are_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "resnet34.pth"
    torch.save({name: value for name, value in state.items() if name != "layer2.0.conv1.weight"}, path)
    with pytest.raises(BackboneError, match=r"it lacks layer2\.0\.conv1\.weight"):
        load_network(RESNET34, path)
    torch.save(state | {"layer9.weight": torch.zeros(1)}, path)
    with pytest.raises(BackboneError, match=r"it also has layer9\.weight"):
        load_network(RESNET34, path)


def test_weights_that_are_not_finite_are_rejected(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"].clone()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    torch.save(state, tmp_path / "resnet34.pth")
    with pytest.raises(BackboneError, match=r"layer1\.0\.conv1\.weight contains infinite or NaN values"):
        load_network(RESNET34, tmp_path / "resnet34.pth")


def test_the_classifier_is_optional(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save({name: value for name, value in state.items() if not name.startswith("fc.")}, tmp_path / "x.pth")
    load_network(RESNET34, tmp_path / "x.pth")


def test_files_in_the_old_torch_format_load(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    load_network(RESNET34, tmp_path / "x.pth")


def test_safetensors_give_the_same_network(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, tmp_path / "x.pth")
    safetensors.torch.save_file(state, tmp_path / "x.safetensors")
    one, other = (load_network(RESNET34, tmp_path / name).state_dict() for name in ("x.pth", "x.safetensors"))
    assert all(torch.equal(one[name], other[name]) for name in one)
