"""The mean of the start weights and the new weights of a training.

A training on some pages of a new kind harms the kinds that the start weights already know. The mean of both weights
keeps most of the old accuracy and most of the new one (Wortsman et al., Robust fine-tuning of zero-shot models, 2022,
https://arxiv.org/abs/2109.01903).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.training.class_names import have_same_classes

if TYPE_CHECKING:
    from torch import nn

# Shares of the new weights that are tried on the validation pages.
SHARES = (0.3, 0.5, 1.0)
# Standard deviation of what one illustration contributes to AP50-95, between 0 and 1.
_SPREAD = 0.35


def can_average(first: "nn.Module", second: "nn.Module") -> bool:
    """Return whether two networks have the same architecture and the same classes."""
    names = [network.names.values() for network in (first, second)]  # type: ignore[operator]
    shapes = [{name: value.shape for name, value in network.state_dict().items()} for network in (first, second)]
    return have_same_classes(*names) and shapes[0] == shapes[1]


def average(networks: Sequence["nn.Module"], shares: Sequence[float]) -> "nn.Module":
    """Return the last network, with the weighted mean of the parameters of all.

    Args:
        networks: Networks of the same architecture, in float32.
        shares: Share of each network; together 1.
    """
    states = [network.state_dict() for network in networks]
    mean: dict[str, Any] = {
        name: sum(share * state[name] for share, state in zip(shares, states, strict=True))
        for name, values in states[-1].items()
        if values.is_floating_point()
    }
    networks[-1].load_state_dict(states[-1] | mean)
    return networks[-1]


def choose_share(accuracies: Mapping[float, float | None], illustrations: int) -> float:
    """Return the smallest share whose accuracy is at most one standard error below the best one.

    A difference within the standard error may be chance (Hastie, Tibshirani, Friedman, The Elements of Statistical
    Learning, 2nd edition, section 7.10). Then the share that changes the start weights least is the safest.

    Args:
        accuracies: AP50-95 on the validation pages by share of the new weights; None without labelled illustrations.
        illustrations: Number of illustrations on the validation pages.

    Returns:
        The share; 1 if there is no accuracy.
    """
    known = {share: accuracy for share, accuracy in accuracies.items() if accuracy is not None}
    least = max(known.values(), default=0.0) - _SPREAD / max(illustrations, 1) ** 0.5
    return min((share for share, accuracy in known.items() if accuracy >= least), default=1.0)
