"""Helpers for tests of the data set store."""

from collections.abc import Mapping
from typing import Any

from app.training.datasets import Dataset, DatasetStore
from tests.support.archives import YAML, make_image, make_zip

OURS, OTHERS = 1, 2  # IDs of two client apps
PAGE = make_image()


def list_files(store: DatasetStore) -> list[str]:
    """Return all files in the store except locks."""
    files = (path for path in store.folder.rglob("*") if path.is_file() and path.name != ".lock")
    return sorted(str(path.relative_to(store.folder)) for path in files)


def add(store: DatasetStore, files: Mapping[str, bytes], **fields: Any) -> Dataset:
    """Upload the data set ``eida`` with the given files."""
    return store.add(OURS, "eida", make_zip(files), YAML, **fields)
