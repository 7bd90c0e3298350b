"""Read each export of a sample result with software of others, and compare the boxes.

The sample has the true boxes of iiif/sample on canvases of half the size, and one page that failed. A reader that is
not installed is left out. Install the readers without their dependencies: some of them ask for older packages.

    pip install --no-deps --target READERS iiif-prezi3 lxml xmlschema elementpath jsonschema ...
    PYTHONPATH=READERS python -m bench formats --schemas SCHEMAS
"""

import argparse
import csv
import io
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from app.config import ROOT
from app.detection.annotations import AnnotatedPage, BoxRecord, PageStatus
from app.exports import FORMATS
from app.exports.annotation_files import describe_pages
from app.exports.document import ExportedDocument, load_document
from app.exports.manifest import format_manifest
from app.images.pixels import read_size
from app.storage import JobFolder, write_atomic
from bench.tables import print_table

SAMPLE = ROOT / "iiif" / "sample"
BASE = "https://library.example"
# File name of an image → its boxes.
Boxes = dict[str, list[list[int]]]
Files = dict[str, bytes]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--schemas", type=Path, help="folder with the XSD files of PAGE and ALTO and the IIIF JSON schema"
    )
    parser.add_argument("--out", type=Path, help="folder to keep the exported files in")


def run(arguments: argparse.Namespace) -> None:
    """Exit with an error if a reader finds other boxes."""
    with tempfile.TemporaryDirectory() as folder:
        document = save_sample(JobFolder(Path(folder)))
    exports = {name: encode(each.write(document)) for name, each in FORMATS.items()}
    exports["manifest"] = format_manifest(document).encode()
    for name, data in exports.items() if arguments.out else ():
        write_atomic(arguments.out / f"{name}{'.zip' if data[:2] == b'PK' else '.txt'}", data)
    rows = [
        (f"`{name}`", reader, find_version(package), check(partial(read, exports[name], arguments.schemas)))
        for name, reader, package, read in READERS
    ]
    print_table(["format", "reader", "version", "result"], rows)
    if wrong := [row for row in rows if not row[3].startswith(("the same", "valid", "not "))]:
        sys.exit(f"{len(wrong)} readers disagree.")


def encode(content: bytes | str) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


def load_truth() -> Boxes:
    truth: Boxes = json.loads((SAMPLE / "truth.json").read_text())
    return truth


def save_sample(folder: JobFolder) -> ExportedDocument:
    """Save and load the result of a job that found the true boxes. One more page failed."""
    pages, canvases = [], []
    for number, (name, boxes) in enumerate(load_truth().items(), 1):
        with (SAMPLE / name).open("rb") as file:
            width, height = read_size(file)
        found = tuple(BoxRecord((x, y, w, h), 0.9, 0, "illustration") for x, y, w, h in boxes)
        status = PageStatus.DETECTED if boxes else PageStatus.EMPTY
        pages.append(AnnotatedPage(number, f"{BASE}/canvas/{number}", name, width, height, status, found))
        canvases.append(build_canvas(number, width, height))
    number = len(pages) + 1
    pages.append(AnnotatedPage(number, "", "failed.jpg", None, None, PageStatus.FAILED, reason="It answered 404."))
    manifest = {"type": "Manifest", "id": f"{BASE}/manifest.json", "label": {"none": ["sample"]}, "items": canvases}
    write_atomic(folder.manifest, json.dumps(manifest).encode())
    write_atomic(folder.annotations_json, json.dumps(describe_pages(pages)).encode())
    request = {"manifest_url": f"{BASE}/manifest.json"}
    return load_document(
        folder, request, folder.path, "https://api.example/jobs/0", ref="sample", model="illustrations_11_2026"
    )


def build_canvas(number: int, width: int, height: int) -> dict[str, Any]:
    """Return a canvas of half the size of its image."""
    service = {"id": f"{BASE}/iiif/{number}", "type": "ImageService3", "profile": "level2"}
    body = {"id": f"{BASE}/{number}.jpg", "type": "Image", "width": width, "height": height, "service": [service]}
    items = [{"items": [{"motivation": "painting", "body": body}]}]
    canvas_id = f"{BASE}/canvas/{number}"
    return {"type": "Canvas", "id": canvas_id, "width": width // 2, "height": height // 2, "items": items}


def find_version(package: str) -> str:
    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return "-"


def check(read: Callable[[], Boxes | None]) -> str:
    """Return the result of a reader in words. An edge may be one canvas unit off, which is two pixels here."""
    try:
        found = read()
    except ModuleNotFoundError as error:
        return f"not installed: {error.name}"
    except FileNotFoundError:
        return "not checked: --schemas is missing"
    if found is None:
        return "valid"
    truth = load_truth()
    if found.keys() != truth.keys():
        return f"other pages: {', '.join(sorted(found))}"
    for name, boxes in truth.items():
        pairs = zip(sorted(found[name]), sorted(boxes), strict=False)
        if len(found[name]) != len(boxes) or any(
            abs(a - b) > 2 for one, other in pairs for a, b in zip(one, other, strict=True)
        ):
            return f"other boxes on {name}: {found[name]}"
    return f"the same {sum(map(len, truth.values()))} boxes on {len(truth)} pages"


def open_zip(data: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unpack(data: bytes, folder: str) -> Iterator[Path]:
    """Write the files of a zip into a folder; yield the XML files."""
    for name, content in open_zip(data).items():
        path = Path(folder, name)
        write_atomic(path, content)
        if path.suffix == ".xml":
            yield path


def read_region(target: str, scale: int = 1) -> list[int]:
    """Return the region of a target in image pixels; ``scale`` is the size of the image, divided by the canvas size."""
    return [scale * int(part) for part in target.partition("#xywh=")[2].split(",")]


def read_annotation_pages(data: bytes, _: Path | None) -> Boxes:
    from iiif_prezi3 import AnnotationPage

    pages = [AnnotationPage(**page) for page in json.loads(data)["items"]]
    return {page.label["none"][0]: [read_region(str(item.target), 2) for item in page.items or ()] for page in pages}


def read_manifest(data: bytes, _: Path | None) -> Boxes:
    from iiif_prezi3 import Manifest

    canvases = [canvas for canvas in Manifest(**json.loads(data)).items if canvas.annotations]
    pages = [page for canvas in canvases for page in canvas.annotations]
    return {page.label["none"][0]: [read_region(str(item.target)) for item in page.items or ()] for page in pages}


def validate_json(data: bytes, schemas: Path | None) -> None:
    from jsonschema import Draft7Validator

    schema = json.loads(find_schema(schemas, "iiif-presentation-3.json").read_bytes())
    document = json.loads(data)
    documents = document["items"] if document["type"] == "AnnotationCollection" else [document]
    for each in documents:
        Draft7Validator(schema).validate(each)


def find_schema(schemas: Path | None, name: str) -> Path:
    if schemas is None:
        raise FileNotFoundError(name)
    return schemas / name


def validate_xml(name: str, data: bytes, schemas: Path | None) -> None:
    from lxml import etree

    schema = etree.XMLSchema(etree.parse(str(find_schema(schemas, name))))
    for file, content in open_zip(data).items():
        if file.endswith(".xml"):
            schema.assertValid(etree.fromstring(content))


def validate_with_xmlschema(name: str, data: bytes, schemas: Path | None) -> None:
    import xmlschema

    schema = xmlschema.XMLSchema(str(find_schema(schemas, name)))
    for file, content in open_zip(data).items():
        if file.endswith(".xml"):
            schema.validate(content.decode())


def read_with_kraken(data: bytes, _: Path | None) -> Boxes:
    from kraken.lib.xml import XMLPage

    found: Boxes = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in unpack(data, folder):
            page = XMLPage(path)
            regions = [region for same in page.regions.values() for region in same]
            found[Path(page.imagename).name] = [find_bounds(region.boundary) for region in regions]
    return found


def find_bounds(points: list[tuple[int, int]]) -> list[int]:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def read_with_pycocotools(data: bytes, _: Path | None) -> Boxes:
    from pycocotools.coco import COCO

    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        Path(file.name).write_bytes(data)
        labels = COCO(file.name)
    images = {number: labels.loadImgs(number)[0]["file_name"] for number in labels.getImgIds()}
    return {
        name: [note["bbox"] for note in labels.loadAnns(labels.getAnnIds(imgIds=[number]))]
        for number, name in images.items()
    }


def read_with_ultralytics(data: bytes, _: Path | None) -> Boxes:
    from app.detection.weights import isolate_ultralytics

    isolate_ultralytics()
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    with tempfile.TemporaryDirectory() as folder:
        list(unpack(data, folder))
        for name in load_truth():
            write_atomic(Path(folder, "images", name), (SAMPLE / name).read_bytes())
        described = check_det_dataset(str(Path(folder, "data.yaml")), autodownload=False)
        labels = YOLODataset(described["train"], data=described, augment=False).labels
    found: Boxes = {}
    for label in labels:
        height, width = label["shape"]
        centres = label["bboxes"].tolist()
        found[Path(label["im_file"]).name] = [
            [round((x - w / 2) * width), round((y - h / 2) * height), round(w * width), round(h * height)]
            for x, y, w, h in centres
        ]
    return found


def read_table(data: bytes, _: Path | None) -> Boxes:
    """Read the table. It has no line for an empty page."""
    found: Boxes = {name: [] for name in load_truth()}
    for row in csv.DictReader(io.StringIO(data.decode())):
        found[row["image_name"]].append([int(row[name]) for name in ("x", "y", "width", "height")])
    return found


PAGE_SCHEMA, ALTO_SCHEMA = "pagecontent-2019-07-15.xsd", "alto-4-4.xsd"
READERS: list[tuple[str, str, str, Callable[[bytes, Path | None], Boxes | None]]] = [
    ("manifest", "iiif-prezi3", "iiif-prezi3", read_manifest),
    ("manifest", "JSON schema", "jsonschema", validate_json),
    ("iiif", "iiif-prezi3", "iiif-prezi3", read_annotation_pages),
    ("iiif", "JSON schema", "jsonschema", validate_json),
    ("page", "XSD with lxml", "lxml", partial(validate_xml, PAGE_SCHEMA)),
    ("page", "XSD with xmlschema", "xmlschema", partial(validate_with_xmlschema, PAGE_SCHEMA)),
    ("page", "kraken", "kraken", read_with_kraken),
    ("alto", "XSD with lxml", "lxml", partial(validate_xml, ALTO_SCHEMA)),
    ("alto", "XSD with xmlschema", "xmlschema", partial(validate_with_xmlschema, ALTO_SCHEMA)),
    ("alto", "kraken", "kraken", read_with_kraken),
    ("coco", "pycocotools", "pycocotools", read_with_pycocotools),
    ("yolo", "ultralytics", "ultralytics-opencv-headless", read_with_ultralytics),
    ("csv", "csv of Python", "", read_table),
]
