import csv
import io
import json
from pathlib import Path

import pytest
import yaml
from pycocotools.coco import COCO

from app.exports import coco, yolo
from app.exports.csv_table import COLUMNS, escape_formula, format_table
from app.exports.document import ExportedDocument
from app.storage import JobFolder
from app.training.label_formats.coco import parse_coco
from tests.support.archives import open_zip
from tests.support.exported_results import BASE, HOSTILE_CLASS, PAGES, load_result, save_result


def test_pycocotools_reads_the_coco_file(
    document: ExportedDocument, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coco.json"
    path.write_text(coco.format_labels(document))
    labels = COCO(path)
    assert labels.getImgIds() == [1, 2, 4], "the failed page is no image"
    (first,) = labels.loadAnns(labels.getAnnIds(imgIds=[1], catIds=labels.getCatIds(catNms=["illustration"])))
    assert (first["bbox"], first["score"]) == ([100, 200, 300, 400], 0.9312)
    assert labels.annToMask(first).sum() == 300 * 400
    assert labels.getAnnIds(imgIds=[2]) == []
    assert labels.dataset["info"]["failed"] == [{"canvas_number": 3, "reason": "It answered\n404."}]


def test_data_sets_read_the_coco_file(document: ExportedDocument) -> None:
    images = parse_coco(json.loads(coco.format_labels(document)), "coco.json")
    assert [(image.file_name, len(image.boxes)) for image in images] == [
        ("a.jpg", 2),
        ("b.jpg", 0),
        ("__b_&_é__.jpg", 1),
    ]


def test_yolo_labels_are_fractions_with_classes_without_gaps(document: ExportedDocument) -> None:
    files = open_zip(yolo.format_archive(document))
    assert list(files) == ["data.yaml", "labels/a.txt", "labels/b.txt", "labels/__b_&_é__.txt", "failed.txt"]
    assert yaml.safe_load(files["data.yaml"])["names"] == {0: "illustration", 1: "initial", 2: HOSTILE_CLASS}
    first, corner = files["labels/a.txt"].decode().splitlines()
    assert first == "0 0.25000000 0.50000000 0.30000000 0.50000000"
    assert corner.startswith("1 0.95000000 0.93750000 ")
    assert files["labels/b.txt"] == b""


def test_yolo_without_detections_has_one_class(folder: JobFolder) -> None:
    save_result(folder, PAGES[1:2])
    files = open_zip(yolo.format_archive(load_result(folder)))
    assert yaml.safe_load(files["data.yaml"])["names"] == {0: "illustration"}
    assert list(files) == ["data.yaml", "labels/b.txt"]


def test_csv_has_a_line_for_each_detection(document: ExportedDocument) -> None:
    rows = list(csv.DictReader(io.StringIO(format_table(document))))
    assert [row["canvas_number"] for row in rows] == ["1", "1", "4"]
    assert tuple(rows[0]) == COLUMNS
    assert [rows[0][name] for name in ("x", "y", "width", "height", "confidence")] == [
        "100",
        "200",
        "300",
        "400",
        "0.9312",
    ]
    assert rows[0]["crop_url"] == f"{BASE}/iiif/1/100,200,300,400/max/0/default.jpg"
    assert rows[2]["crop_url"] == "", "its canvas has no image service"


def test_csv_contains_no_formulas(document: ExportedDocument) -> None:
    last = list(csv.DictReader(io.StringIO(format_table(document))))[-1]
    assert (last["canvas_id"], last["class_name"]) == ("'=no address", f"'{HOSTILE_CLASS}")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_a_text_that_starts_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert escape_formula(text) == f"'{text}"
    assert escape_formula(-1.5) == -1.5
