"""The documents that a command names: fetch their pages, and detect their illustrations."""

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.command_line.outcome import show_progress
from app.command_line.workspace import Workspace, choose_size, find_weights
from app.detection.annotations import AnnotatedPage
from app.detection.parts import choose_side
from app.detection.weights import Weights
from app.errors import ExtractorError, ManifestError, RequestError
from app.iiif.collection import Collection
from app.iiif.manifest import Manifest
from app.jobs import DetectionRequest
from app.jobs.requests import read
from app.pipelines.detection import work
from app.pipelines.detection.expansion import MAX_MANIFESTS, expand
from app.pipelines.detection.pages import FetchedPage, load_annotated, load_fetched
from app.storage import JobFolder, build_key


@dataclass(frozen=True)
class DocumentOptions:
    """How documents are fetched and detected.

    Attributes:
        weights: Detection weights.
        image_size: Longer side of the requested images in pixels, ``full``, or "" for the default.
        tiles: ``auto`` cuts very large pages, ``off`` or "" does not.
        refresh: Whether to fetch documents and images again.
    """

    weights: Weights
    image_size: str = ""
    tiles: str = ""
    refresh: bool = False
