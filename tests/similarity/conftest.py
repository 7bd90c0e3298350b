from pathlib import Path

import pytest

from app.similarity.backbones import BACKBONES
from tests.similarity.published import save_published


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of every published backbone."""
    folder = tmp_path_factory.mktemp("backbones")
    for name in BACKBONES:
        save_published(name, folder)
    return folder
