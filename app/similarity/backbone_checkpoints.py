"""Reading weights files: nothing in a file runs, and only the weights of the network that is meant are taken."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from app.errors import BackboneError

State = dict[str, torch.Tensor]

# Where training programs put the weights in what they save beside them.
_WRAPPERS = ("state_dict", "model")


def load_state(path: Path, prefix: str = "") -> State:
    """Return the parameters of a weights file by name: of safetensors, or of a ``torch.save`` without objects.

    Args:
        path: The file.
        prefix: Parameters with other names are left out, and the prefix is.

    Raises:
        BackboneError: It is damaged, or holds something else than parameters.
    """
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    # Whatever is in a file, the loaders can raise anything: all of it means the same to the user.
    except Exception as error:
        raise BackboneError(
            f"{path.name} cannot be loaded safely: it is damaged, or holds more than weights; put it there anew."
        ) from error
    state = next((state[key] for key in _WRAPPERS if isinstance(state, dict) and key in state), state)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise BackboneError(f"{path.name} holds no weights: put a file with the state of a network in its place.")
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def drop_head(state: Mapping[str, torch.Tensor], heads: tuple[str, ...]) -> State:
    """Return the parameters without those of the classifiers of these names."""
    return {name: value for name, value in state.items() if not name.startswith(tuple(f"{head}." for head in heads))}


def fill(network: nn.Module, state: State, file: str, heads: tuple[str, ...] = ()) -> None:
    """Put parameters into a network: all of them, and no others, but for the classifier's.

    Args:
        network: The network to fill.
        state: The parameters of the file.
        file: Its name.
        heads: Names of the classifiers, which need not be there and are not taken.

    Raises:
        BackboneError: They belong to another network.
    """
    wanted, state = drop_head(network.state_dict(), heads), drop_head(state, heads)
    # Counters that only training needs, and older files lack.
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    surplus = [name for name in state if name not in wanted]
    unlike = [name for name in wanted if name in state and wanted[name].shape != state[name].shape]
    for what, names in (("lacks", missing), ("also has", surplus), ("has in another shape", unlike)):
        if names:
            raise BackboneError(
                f"{file} holds the weights of another network: it {what} {names[0]} and {len(names) - 1} more; "
                "put the published file in its place."
            )
    check_finite(state, file)
    network.load_state_dict(state, strict=False)


def check_finite(state: Mapping[str, torch.Tensor], file: str) -> None:
    """Refuse weights that are no numbers: every embedding would be none either.

    Raises:
        BackboneError: Some are infinite or not a number.
    """
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise BackboneError(f"{file} is damaged: {name[:100]} holds values that are no numbers; put it there anew.")


def name_mismatch(error: Exception) -> str:
    """Return what does not fit, from the error of a library that filled a network."""
    found = re.search(r"(Missing|Unexpected) key.*?\"([^\"]{1,100})\"|size mismatch for ([^:\s]{1,100})", str(error))
    return (found[2] or found[3]) if found else type(error).__name__
