from collections.abc import Mapping
from copy import deepcopy

import pytest
import torch

from app.training.averaging import average, can_average, choose_share
from tests.support.small_networks import make_yolo


def fill(value: float) -> torch.nn.Module:
    network = make_yolo()
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, value)
    return network


def test_the_average_has_the_mean_parameters() -> None:
    mean = average([fill(1.0), fill(2.0)], [0.25, 0.75])
    assert all(torch.allclose(parameter, torch.tensor(1.75)) for parameter in mean.parameters())


def test_the_average_has_the_mean_statistics_of_the_normalisation() -> None:
    networks = [make_yolo(), make_yolo()]
    for network, value in zip(networks, (1.0, 2.0), strict=True):
        for name, values in network.named_buffers():
            if name.endswith("running_var"):
                values.fill_(value)
    mean = average(networks, [0.5, 0.5])
    found = [values for name, values in mean.named_buffers() if name.endswith("running_var")]
    assert found
    assert all(torch.allclose(values, torch.tensor(1.5)) for values in found)


def test_networks_with_other_classes_or_shapes_have_no_average() -> None:
    network = make_yolo()
    other_classes, other_shapes = deepcopy(network), deepcopy(network)
    other_classes.names = {number: f"other {name}" for number, name in network.names.items()}
    first = next(other_shapes.parameters())
    first.data = torch.zeros(2 * first.shape[0], *first.shape[1:])
    assert can_average(network, deepcopy(network))
    assert not can_average(network, other_classes)
    assert not can_average(network, other_shapes)


def test_networks_whose_classes_differ_in_their_spelling_have_an_average() -> None:
    assert can_average(make_yolo("initial", "ornate  letter"), make_yolo("Initial", "Ornate letter"))
    assert not can_average(make_yolo("initial", "figure"), make_yolo("figure", "initial"))
    assert can_average(make_yolo("illustration"), make_yolo("figure"))


@pytest.mark.parametrize(
    ("accuracies", "illustrations", "share"),
    [
        ({0.3: 0.73, 0.5: 0.76, 1.0: 0.81}, 12, 0.3),  # on few pages, the differences may be chance
        ({0.3: 0.73, 0.5: 0.76, 1.0: 0.81}, 40, 0.5),
        ({0.3: 0.73, 0.5: 0.76, 1.0: 0.81}, 1000, 1.0),
        ({0.3: 0.10, 0.5: 0.30, 1.0: 0.60}, 12, 1.0),  # the labels contradict the start weights
        ({0.3: 0.10, 0.5: 0.60, 1.0: 0.30}, 12, 0.5),
        ({0.3: None, 0.5: None, 1.0: None}, 0, 1.0),  # no labelled illustrations
        ({1.0: 0.2}, 12, 1.0),
    ],
)
def test_the_smallest_share_within_a_standard_error_of_the_best_is_chosen(
    accuracies: Mapping[float, float | None], illustrations: int, share: float
) -> None:
    assert choose_share(accuracies, illustrations) == share
