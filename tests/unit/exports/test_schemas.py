"""Manifests of libraries are valid when they are exported with boxes. Schemas and manifests are outside the project."""

import json
from pathlib import Path

import jsonschema_rs
import pytest

from app.detection.annotations import AnnotatedPage, PageStatus
from app.errors import ManifestError
from app.exports import FORMATS
from app.exports.manifest import format_manifest
from app.storage import JobFolder, write_atomic
from tests.support.exported_results import SOURCE, WOODCUT, load_result, save_result
from tests.support.manifests import REAL, parse_manifest

SCHEMA = REAL.parent / "schemas" / "iiif-presentation-3.json"
MANIFESTS = sorted(REAL.rglob("*.json"))
pytestmark = pytest.mark.skipif(not SCHEMA.exists() or not MANIFESTS, reason="needs the schemas in ../shared")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_the_export_of_a_librarys_manifest_is_valid(folder: JobFolder, path: Path) -> None:
    data = path.read_bytes()
    try:
        manifest = parse_manifest(data, SOURCE)
    except ManifestError as error:
        pytest.skip(error.message)
    pages = [
        AnnotatedPage(canvas.number, canvas.id, "a.jpg", 3000, 4000, PageStatus.DETECTED, (WOODCUT,))
        if canvas.image
        else AnnotatedPage(canvas.number, canvas.id, "a.jpg", None, None, PageStatus.FAILED, reason=canvas.reason)
        for canvas in manifest.canvases
    ]
    save_result(folder, pages, manifest=None)
    write_atomic(folder.manifest, data)
    document = load_result(folder)
    schema = jsonschema_rs.Draft7Validator(json.loads(SCHEMA.read_bytes()))
    exported = format_manifest(document)
    schema.validate(json.loads(exported))
    for page in json.loads(FORMATS["iiif"].write(document))["items"]:
        schema.validate(page)
    read = parse_manifest(exported.encode(), SOURCE)
    assert [bool(canvas.image) for canvas in read.canvases] == [bool(canvas.image) for canvas in manifest.canvases]
