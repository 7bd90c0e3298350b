"""Safe reading of backbone weights: no code of a file runs, and all parameters must fit the network."""

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torchvision.models import resnet

from app.errors import BackboneError

State = dict[str, torch.Tensor]
# Objects besides tensors that a file may hold. A Namespace has the arguments of a training. The others are the parts of
# a torchvision ResNet, which some authors publish as a whole. None of them runs code when it is loaded.
_HARMLESS = [
    Namespace,
    resnet.ResNet,
    resnet.BasicBlock,
    resnet.Bottleneck,
    *(nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Linear, nn.Identity),
    set,
]
# Number of parameter names in an error message.
_SHOWN = 3

# Keys under which training programs save the state dict in their checkpoints. DINO saves both networks; its authors
# evaluate the teacher.
_WRAPPERS = ("state_dict", "model", "teacher", "student")
# Prefixes of the parameter names in such checkpoints, by what adds them. Where several networks are saved, the first
# prefix that occurs names the one to use, such as the query encoder of MoCo.
_PREFIXES = (
    "module.",  # DistributedDataParallel
    "_orig_mod.",  # torch.compile
    "teacher.",  # DINOv2, DINO in Lightning
    "student.",
    "encoder_q.",  # MoCo 1 and 2
    "base_encoder.",  # MoCo 3
    "backbone.",  # DINO, next to its head
    "encoder.",
    "model.",
)


def load_state(path: Path) -> State:
    """Return the state dict in a weights file: safetensors, or a ``torch.save`` without other objects.

    The checkpoint of a training may have the state dict of a network under a key.

    Raises:
        BackboneError: If the file is damaged, or contains anything but parameters.
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            with torch.serialization.safe_globals(_HARMLESS):
                state = torch.load(path, map_location="cpu", weights_only=True)
    # A malformed file can raise any exception; for the user they all mean the same.
    except Exception as error:
        raise BackboneError(
            f"{path.name} cannot be loaded safely: it is damaged, or contains more than weights; download it again."
        ) from error
    if isinstance(state, nn.Module):
        state = state.state_dict()
    state = next((state[key] for key in _WRAPPERS if isinstance(state, dict) and key in state), state)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BackboneError(f"{path.name} does not contain weights: replace it by a file with a state dict.")
    return state


def unwrap(state: State, wanted: Mapping[str, torch.Tensor]) -> State:
    """Return the parameters of one network without the prefixes that training programs add to their names.

    Args:
        state: State dict from a file.
        wanted: State dict of the network. A prefix that occurs in it is not removed.
    """
    left = [prefix for prefix in _PREFIXES if not any(name.startswith(prefix) for name in wanted)]
    while prefix := next((each for each in left if any(name.startswith(each) for name in state)), ""):
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return state


def drop_head(state: Mapping[str, torch.Tensor], heads: tuple[str, ...]) -> State:
    """Return the state dict without the parameters of the named classifiers."""
    return {name: value for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in heads))}


def fill(network: nn.Module, state: State, file: str, heads: tuple[str, ...] = ()) -> None:
    """Load a state dict into a network; except for the classifier, both must have the same parameters.

    Prefixes of the parameter names are removed (:func:`unwrap`).

    Args:
        network: Network to fill.
        state: State dict from the file.
        file: File name, for error messages.
        heads: Names of the classifiers; their parameters are optional and not loaded.

    Raises:
        BackboneError: If the state dict belongs to another network.
    """
    wanted = drop_head(network.state_dict(), heads)
    state = drop_head(unwrap(state, wanted), heads)
    # num_batches_tracked is needed only for training, and older files lack it.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    surplus = [name for name in state if name not in wanted]
    unlike = [name for name in wanted if name in state and wanted[name].shape != state[name].shape]
    found = (("lacks", missing), ("also has", surplus), ("has in another shape", unlike))
    if differences := [f"it {what} {_list_names(names)}" for what, names in found if names]:
        raise BackboneError(
            f"{file} contains the weights of another network: {', '.join(differences)}; replace it by the "
            "published file, or by your own weights of the same network."
        )
    check_finite(state, file)
    network.load_state_dict(state, strict=False)


def _list_names(names: list[str]) -> str:
    shown = ", ".join(name[:100] for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def check_finite(state: Mapping[str, torch.Tensor], file: str) -> None:
    """Check that all weights are finite; otherwise every embedding would be NaN.

    Raises:
        BackboneError: If a weight is infinite or NaN.
    """
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BackboneError(
                f"{file} is damaged: {name[:100]} contains infinite or NaN values; download the file again."
            )


def name_mismatch(error: Exception) -> str:
    """Return the name of the parameter that does not fit, from the exception of a library."""
    found = re.search(r"(Missing|Unexpected) key.*?\"([^\"]{1,100})\"|size mismatch for ([^:\s]{1,100})", str(error))
    return (found[2] or found[3]) if found else type(error).__name__
