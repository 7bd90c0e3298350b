"""The classes of weights and those of a data set: which are the same."""

from collections.abc import Iterable, Mapping, Sequence

from app.errors import RequestError

# That a sentence lists; weights trained on COCO have 80.
_MOST_NAMES = 20


def match_classes(of_weights: Mapping[int, str], of_dataset: Sequence[str]) -> dict[int, int]:
    """Return for each class id of the weights that of the data set, where both know the class.

    Classes are known by their names, whatever their order, in capitals or not. Where no name is shared, one class on
    either side is taken for the same: «illustration» and «figure», say.

    Raises:
        RequestError: Weights and data set have nothing to do with each other.
    """
    places = {_normalise(name): place for place, name in reversed(list(enumerate(of_dataset)))}
    known = {class_id: _normalise(name) for class_id, name in of_weights.items()}
    shared = {class_id: places[name] for class_id, name in known.items() if name in places}
    if shared:
        return shared
    if len(of_weights) == len(of_dataset) == 1:
        return {next(iter(of_weights)): 0}
    raise RequestError(
        f"The weights and the data set share no class: the weights find {_list(of_weights.values())}; "
        f"the data set has {_list(of_dataset)}."
    )


def _normalise(name: str) -> str:
    return " ".join(name.casefold().split())


def _list(names: Iterable[str]) -> str:
    known = [name[:40] for name in names]
    shown = ", ".join(known[:_MOST_NAMES]) or "none"
    return f"{shown} and {len(known) - _MOST_NAMES} more" if len(known) > _MOST_NAMES else shown
