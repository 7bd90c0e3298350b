from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.similarity.backbones import BACKBONES
from tests.support.published_backbones import save_published


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one torch thread: several threads wait long for each other when other tests run in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with weights files for every published backbone."""
    folder = tmp_path_factory.mktemp("backbones")
    for name in BACKBONES:
        save_published(name, folder)
    return folder
