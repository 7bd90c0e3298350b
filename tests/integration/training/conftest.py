from pathlib import Path

import pytest

from app.training.datasets import DatasetStore, UploadLimits


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    limits = UploadLimits(upload_bytes=1_000_000, image_bytes=100_000, image_pixels=1_000_000, seconds=60)
    return DatasetStore(tmp_path / "datasets", limits)
