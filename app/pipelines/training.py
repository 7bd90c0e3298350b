"""The order of work of a training, and of a test of weights: pages kept, network trained, evaluated, published."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.detection.detector import DetectorConfig, load_detector
from app.detection.weights import Weights
from app.storage import JobFolder, write_atomic
from app.training.card import TrainingRun, format_card
from app.training.datasets import Dataset, load_dataset
from app.training.evaluate import evaluate
from app.training.history import EpochRecord, History
from app.training.tracking import Tracker
from app.training.train import TrainingConfig, count_epochs, save_weights, train

WEIGHTS, HISTORY, CURVE, CARD = "weights.pt", "history.jsonl", "training.png", "card.md"


class GivesWay(Exception):
    """A training stops for now, with what it has learned kept: others wait."""
