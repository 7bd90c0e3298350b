from pathlib import Path

import pytest

from app.exports.document import ExportedDocument
from app.storage import JobFolder
from tests.support.exported_results import load_result, save_result


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """The folder of a finished detection job."""
    folder = JobFolder(tmp_path / "job")
    save_result(folder)
    return folder


@pytest.fixture
def document(folder: JobFolder) -> ExportedDocument:
    return load_result(folder)
