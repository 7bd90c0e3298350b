from pathlib import Path

import pytest

from app.config import ROOT
from app.demo.reprint import Woodcut, make_reprint, read_woodcuts

SAMPLE = ROOT / "iiif" / "sample"


@pytest.fixture(scope="package")
def woodcuts() -> list[Woodcut]:
    """The woodcuts of the sample document."""
    return read_woodcuts(SAMPLE)


@pytest.fixture(scope="package")
def reprint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Woodcut]]:
    """The reprint of the sample document, and its woodcuts."""
    folder = tmp_path_factory.mktemp("demo") / "reprint"
    return folder, make_reprint(SAMPLE, folder)
