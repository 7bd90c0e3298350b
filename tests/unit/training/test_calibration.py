import numpy as np
import pytest
import torch

from app.training.calibration import Calibration, calibrate, fit_calibration, measure_calibration_error
from app.training.labelled_page import LabelledPage
from tests.support.labelled_pages import build_page
from tests.support.small_networks import make_rtdetr, make_yolo

A = (0, 0, 100, 100)
NOWHERE = (0, 500, 100, 600)


def draw_pages(share: float, confidence: float, count: int = 400) -> list[LabelledPage]:
    """Pages with one detection each, of which a share is correct."""
    right = np.random.default_rng(0).random(count) < share
    return [build_page([A] if hit else [], [(*A, confidence)]) for hit in right]


def apply(calibration: Calibration, confidence: float) -> float:
    logit = calibration.scale * np.log(confidence / (1 - confidence)) + calibration.shift
    return float(1 / (1 + np.exp(-logit)))


def test_confidences_become_the_share_of_correct_detections() -> None:
    pages = draw_pages(0.3, 0.1) + draw_pages(0.6, 0.3) + draw_pages(0.95, 0.8)
    calibration = fit_calibration(pages)
    assert apply(calibration, 0.1) == pytest.approx(0.3, abs=0.08)
    assert apply(calibration, 0.3) == pytest.approx(0.6, abs=0.08)
    assert apply(calibration, 0.8) == pytest.approx(0.95, abs=0.08)


def test_detections_that_nobody_looks_at_do_not_count() -> None:
    shown, tail = draw_pages(0.3, 0.2) + draw_pages(0.8, 0.6), draw_pages(0.02, 0.001, 20_000)
    alone, together = fit_calibration(shown), fit_calibration(shown + tail)
    assert (together.scale, together.shift) == pytest.approx((alone.scale, alone.shift))


def test_calibrated_confidences_stay_almost_as_they_are() -> None:
    calibration = fit_calibration(draw_pages(0.2, 0.2) + draw_pages(0.5, 0.5) + draw_pages(0.9, 0.9))
    assert calibration.scale == pytest.approx(1, abs=0.15)
    assert calibration.shift == pytest.approx(0, abs=0.2)


def test_few_detections_change_little() -> None:
    calibration = fit_calibration([build_page([A], [(*A, 0.4)]), build_page([], [(*NOWHERE, 0.5)])])
    assert apply(calibration, 0.45) == pytest.approx(0.45, abs=0.05)


@pytest.mark.parametrize("pages", [[], draw_pages(1, 0.5, 5), draw_pages(0, 0.5, 5)], ids=["none", "all", "no correct"])
def test_detections_of_one_kind_change_nothing(pages: list[LabelledPage]) -> None:
    assert fit_calibration(pages) == Calibration()


def test_the_error_is_the_mean_distance_of_confidence_and_share() -> None:
    pages = [build_page([A], [(*A, 0.85)])] * 3 + [build_page([], [(*NOWHERE, 0.85)])]
    assert measure_calibration_error(pages) == pytest.approx(0.1, abs=1e-6)
    assert measure_calibration_error([build_page([A], [(*A, 0.01)])]) is None


def test_calibrated_weights_give_calibrated_confidences() -> None:
    network = make_yolo().eval()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = network(image)[0]
    assert calibrate(network, Calibration(2.0, -0.5))
    after = network(image)[0]
    assert torch.allclose(after[:, :4], before[:, :4])
    assert torch.allclose(torch.logit(after[:, 4:]), 2 * torch.logit(before[:, 4:]) - 0.5, atol=1e-4)


def test_a_network_with_another_head_is_not_changed() -> None:
    network = make_rtdetr()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    assert not calibrate(network, Calibration(2.0, 1.0))
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())
