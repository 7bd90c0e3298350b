"""Safe reading of backbone weights: no code of a file runs, and all parameters must fit the network."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from app.errors import BackboneError

State = dict[str, torch.Tensor]

# Keys under which training programs save the state dict in their checkpoints.
_WRAPPERS = ("state_dict", "model")


def load_state(path: Path, prefix: str = "") -> State:
    """Return the state dict in a weights file: safetensors, or a ``torch.save`` without other objects.

    Args:
        path: The weights file.
        prefix: Prefix of the parameter names; it is removed, and parameters without it are dropped.

    Raises:
        BackboneError: If the file is damaged, or contains anything but parameters.
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    # A malformed file can raise any exception; for the user they all mean the same.
    except Exception as error:
        raise BackboneError(
            f"{path.name} cannot be loaded safely: it is damaged, or contains more than weights; download it again."
        ) from error
    state = next((state[key] for key in _WRAPPERS if isinstance(state, dict) and key in state), state)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BackboneError(f"{path.name} does not contain weights: replace it by a file with a state dict.")
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def drop_head(state: Mapping[str, torch.Tensor], heads: tuple[str, ...]) -> State:
    """Return the state dict without the parameters of the named classifiers."""
    return {name: value for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in heads))}


def fill(network: nn.Module, state: State, file: str, heads: tuple[str, ...] = ()) -> None:
    """Load a state dict into a network; except for the classifier, both must have the same parameters.

    Args:
        network: Network to fill.
        state: State dict from the file.
        file: File name, for error messages.
        heads: Names of the classifiers; their parameters are optional and not loaded.

    Raises:
        BackboneError: If the state dict belongs to another network.
    """
    wanted, state = drop_head(network.state_dict(), heads), drop_head(state, heads)
    # num_batches_tracked is needed only for training, and older files lack it.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    surplus = [name for name in state if name not in wanted]
    unlike = [name for name in wanted if name in state and wanted[name].shape != state[name].shape]
    for what, names in (("lacks", missing), ("also has", surplus), ("has in another shape", unlike)):
        if names:
            raise BackboneError(
                f"{file} contains the weights of another network: it {what} {names[0]} and {len(names) - 1} more; "
                "replace it by the published file."
            )
    check_finite(state, file)
    network.load_state_dict(state, strict=False)


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
