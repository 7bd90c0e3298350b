from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.support.published_backbones import save_published


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one torch thread: several threads wait long for each other when other tests run in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def publish(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns a folder with the weights file of a published backbone. It writes each file once."""
    folder = tmp_path_factory.mktemp("backbones")

    def find_or_write(name: str) -> Path:
        if not (folder / f"{name}.pth").exists():
            save_published(name, folder)
        return folder

    return find_or_write
