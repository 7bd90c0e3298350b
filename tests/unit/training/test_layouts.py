"""Layouts of data sets, as tools export them and people pack them: pages, labels and splits that are found in them."""

import re
import unicodedata
from collections.abc import Mapping

import pytest

from app.errors import RequestError
from tests.support.sorted_pages import BOX, PAGE, make_coco, make_labelme, make_voc, match, sort

ONE = {"a": ["illustration"]}
CONTENTS = {".txt": BOX, ".json": make_labelme(), ".xml": make_voc()}


def fill(*names: str) -> dict[str, bytes]:
    """Return files with a content that fits their suffix."""
    return {name: CONTENTS.get(name[name.rfind(".") :].lower(), PAGE) for name in names}


# A name of a split as a folder, and the split it stands for.
FOLDERS = {
    "train": "train",
    "Training": "train",
    "train2017": "train",
    "train_images": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "VAL2014": "val",
    "val-2": "val",
    "test": "test",
    "testing": "test",
    "test-dev2017": "test",
}


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("layout", ["images/{}", "{}/images", "x/y/images/{}", "{}"])
def test_a_folder_names_the_split_that_it_means(folder: str, layout: str) -> None:
    """Names of ultralytics, Roboflow and COCO: https://cocodataset.org/#download."""
    place = layout.format(folder)
    files = fill(f"{place}/a.jpg", f"{place.replace('images', 'labels')}/a.txt")
    assert sort(files) == {FOLDERS[folder]: ONE}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            fill("images/fold1/a.jpg", "labels/fold1/a.txt"),
            "The folder images/fold1 in dataset_zip is none of train, val",
        ),
        (
            fill("images/trainval/a.jpg", "labels/trainval/a.txt"),
            "The folder images/trainval in dataset_zip is none of",
        ),
        (fill("x/images/Val-de-Grace/a.jpg", "x/labels/a.txt"), "The folder x/images/Val-de-Grace in dataset_zip is"),
        (
            fill("part1/a.jpg", "part1/a.txt", "part2/b.jpg", "part2/b.txt"),
            "The folder part1 in dataset_zip is none of",
        ),
        (fill("images/train2017/a.jpg", "labels/val2017/a.txt"), "same split: labels/val2017/a.txt in dataset_zip"),
        (
            fill("images/train/a.jpg", "labels/train/a.txt", "images/b.jpg"),
            "images/b.jpg in dataset_zip is in no folder",
        ),
    ],
)
def test_an_unclear_split_is_refused_with_its_folder(files: Mapping[str, bytes], sentence: str) -> None:
    with pytest.raises(RequestError, match=re.escape(sentence)) as caught:
        sort(files)
    assert caught.value.message.endswith(".")


def test_action_decides_where_no_folder_names_a_split() -> None:
    files = fill("images/ms1/a.jpg", "labels/ms1/a.txt", "images/ms2/b.jpg", "labels/ms2/b.txt")
    assert sort(files, "val") == {"val": {"a": ["illustration"], "b": ["illustration"]}}
    assert sort(fill("images/train/a.jpg", "labels/train/a.txt"), "val") == {"train": ONE}
    assert sort(fill("images/a.jpg", "labels/a.txt")) == {"test": ONE}


def test_folders_of_documents_may_be_above_those_of_splits() -> None:
    files = fill("ms1/images/train/a.jpg", "ms1/labels/train/a.txt", "ms2/images/val/b.jpg", "ms2/labels/val/b.txt")
    assert sort(files) == TRAIN_AND_VAL


def test_pages_of_one_name_in_folders_of_documents_are_kept_apart() -> None:
    files = fill("images/train/ms1/1.jpg", "labels/train/ms1/1.txt", "images/train/ms2/1.jpg")
    assert sort(files) == {"train": {"ms1_1": ["illustration"], "ms2_1": []}}


CVAT_YOLO = fill("obj_train_data/a.jpg", "obj_train_data/a.txt", "obj_valid_data/b.jpg", "obj_valid_data/b.txt") | {
    "obj.names": b"illustration\ninitial\n",
    "obj.data": b"classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n",
    "train.txt": b"data/obj_train_data/a.jpg\n",
    "valid.txt": b"data/obj_valid_data/b.jpg\n",
}
CVAT_ULTRALYTICS = fill(
    "images/train/a.jpg", "labels/train/a.txt", "images/Validation/b.jpg", "labels/Validation/b.txt"
)
CVAT_ULTRALYTICS |= {"data.yaml": b"names:\n  0: illustration\n  1: initial\npath: .\ntrain: train.txt\n"}
CVAT_ULTRALYTICS |= {"train.txt": b"data/images/train/a.jpg\n", "Validation.txt": b"data/images/Validation/b.jpg\n"}
ROBOFLOW = fill("train/images/a.jpg", "train/labels/a.txt", "valid/images/b.jpg", "valid/labels/b.txt")
ROBOFLOW |= dict.fromkeys(["README.dataset.txt", "README.roboflow.txt"], b"Exported on May 3, 2026\n")
ROBOFLOW |= {
    "data.yaml": b"train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['illustration', 'initial']\n"
}
LABEL_STUDIO = fill("images/0af-a.jpg", "labels/0af-a.txt") | {
    "classes.txt": b"illustration\ninitial\n",
    "notes.json": b'{"categories": [{"id": 0, "name": "illustration"}], "info": {"contributor": "Label Studio"}}',
}
LABELIMG = fill("a.jpg", "a.txt", "b.JPG") | {
    "classes.txt": b"dog\nperson\nillustration\n",
    "a.txt": b"2 .5 .5 .2 .4\n",
}
DARKNET = fill("data/obj/a.jpg", "data/obj/a.txt", "data/obj/b.jpg", "data/obj/b.txt") | {
    "data/train.txt": b"data/obj/a.jpg\n",
    "data/test.txt": b"data/obj/b.jpg\r\n",
    "data/obj.names": b"illustration\ninitial\n",
}
ULTRALYTICS = fill(
    "coco8/images/train/a.jpg", "coco8/labels/train/a.txt", "coco8/images/val/b.jpg", "coco8/labels/val/b.txt"
)
ULTRALYTICS |= {"coco8/LICENSE": b"AGPL", "coco8/README.md": b"# COCO8", "coco8/labels/train.cache": b"x"}
VOC = fill("JPEGImages/a.jpg", "JPEGImages/b.jpg", "SegmentationClass/a.png") | {
    **{f"Annotations/{name}.xml": make_voc(f"{name}.jpg") for name in "ab"},
    **{"ImageSets/Main/train.txt": b"a\n", "ImageSets/Main/val.txt": b"b\n", "labelmap.txt": b"# label:color_rgb::\n"},
}
LABELME = fill("a.jpg", "a.json", "b.jpg")
CVAT_XML = {
    "images/a.jpg": PAGE,
    "annotations.xml": b'<?xml version="1.0"?><annotations><version>1.1</version>'
    b'<image id="0" name="a.jpg" width="100" height="200">'
    b'<box label="illustration" xtl="40" ytl="60" xbr="60" ybr="140"/><tag label="x"/></image></annotations>',
}
TRAIN_AND_VAL = {"train": ONE, "val": {"b": ["illustration"]}}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param(CVAT_YOLO, TRAIN_AND_VAL, id="CVAT, YOLO 1.1"),
        pytest.param(CVAT_ULTRALYTICS, TRAIN_AND_VAL, id="CVAT, Ultralytics YOLO Detection"),
        pytest.param(CVAT_XML, {"test": ONE}, id="CVAT for images 1.1"),
        pytest.param(ROBOFLOW, TRAIN_AND_VAL, id="Roboflow, YOLO"),
        pytest.param(LABEL_STUDIO, {"test": {"0af-a": ["illustration"]}}, id="Label Studio, YOLO with images"),
        pytest.param(LABELIMG, {"test": {"a": ["illustration"], "b": []}}, id="LabelImg, YOLO"),
        pytest.param(fill("a.jpg", "a.xml"), {"test": ONE}, id="LabelImg, Pascal VOC"),
        pytest.param(LABELME, {"test": {"a": ["illustration"], "b": []}}, id="LabelMe"),
        pytest.param(DARKNET, {"train": ONE, "test": {"b": ["illustration"]}}, id="darknet"),
        pytest.param(ULTRALYTICS, TRAIN_AND_VAL, id="ultralytics"),
        pytest.param(VOC, TRAIN_AND_VAL, id="Pascal VOC"),
    ],
)
def test_exports_of_annotation_tools_are_taken_as_they_are(
    files: Mapping[str, bytes], found: dict[str, dict[str, list[str]]]
) -> None:
    """The layouts are those of the manuals.

    CVAT: https://docs.cvat.ai/docs/dataset_management/formats/format-yolo, …/format-yolo-ultralytics, …/format-cvat,
    …/format-voc. Label Studio: https://labelstud.io/guide/export. Roboflow:
    https://openvinotoolkit.github.io/datumaro/latest/docs/data-formats/formats/roboflow.html. LabelImg:
    https://github.com/HumanSignal/labelImg. LabelMe: https://github.com/wkentaro/labelme. darknet:
    https://github.com/AlexeyAB/darknet. ultralytics: https://docs.ultralytics.com/datasets/detect/coco8/.
    """
    assert sort(files) == found
    assert sort({f"export/{name}": content for name, content in files.items()}) == found
    assert sort({f"a b/export/{name}": content for name, content in files.items()}) == found


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["a.jpg", "a.txt", "classes.txt"], ["a.jpg", "a.txt"]),
        (["a.jpg", "a.json"], ["a.json"]),
        (["a.jpg", "a.xml", "README.md"], ["a.xml"]),
        (["obj_train_data/a.jpg", "obj_train_data/a.txt"], ["obj_train_data/a.txt", "obj_train_data/a.jpg"]),
        (["scans/ms1/a.jpg", "scans/Thumbs.db"], ["labels/ms1/a.txt"]),
        (["valid/images/a.jpg"], ["valid/labels/a.txt"]),
    ],
)
def test_images_and_labels_of_one_split_may_have_other_files(images: list[str], labels: list[str]) -> None:
    others = {"notes.pdf": b"%PDF", "README.dataset.txt": b"Provided by a user"}
    assert match(fill(*images) | others, fill(*labels) | others) == {"train": ONE}


def test_labels_of_one_split_come_from_the_file_of_that_split() -> None:
    labels = {
        "annotations/instances_train2017.json": make_coco(),
        "annotations/instances_val2017.json": make_coco(["b.jpg"]),
    }
    assert match(fill("train2017/a.jpg"), labels) == {"train": ONE}


@pytest.mark.parametrize(
    "leftover",
    [
        *("__MACOSX/images/train/._a.jpg", "images/train/._a.jpg", ".DS_Store", "images/.DS_Store"),
        *("images/train/Thumbs.db", "images/desktop.ini", "images/train/README", "images/train/README.txt"),
        *("images/train/a.alto", "images/train/notes.csv", "train.py", "runs/results.csv"),
    ],
)
def test_files_that_are_neither_pages_nor_labels_are_ignored(leftover: str) -> None:
    """Archives of macOS have more files than their folder: https://github.com/ultralytics/hub/issues/89"""
    files = fill("images/train/a.jpg", "labels/train/a.txt") | {leftover: b"Just text."}
    assert sort(files) == {"train": ONE}


def test_labels_may_be_next_to_images_in_a_folder_of_that_name() -> None:
    """Ultralytics trains without them: https://github.com/ultralytics/ultralytics/issues/21224"""
    assert sort(fill("a/b/images/train/a.jpg", "a/b/images/train/a.txt")) == {"train": ONE}


def test_xml_of_other_kinds_next_to_images_is_ignored() -> None:
    """Transkribus and eScriptorium export PAGE and ALTO files next to the images."""
    files = fill("images/train/a.jpg", "labels/train/a.txt", "images/train/b.jpg") | {"images/train/b.xml": b"<alto/>"}
    assert sort(files) == {"train": {"a": ["illustration"], "b": []}}


def test_masks_are_no_pages() -> None:
    assert sort(fill("train/a.jpg", "train/a.txt", "train/masks/a.png")) == {"train": ONE}
    assert sort(fill("labels/train/a.jpg", "labels/train/a.txt")) == {"train": ONE}


def test_an_image_without_suffix_is_a_page() -> None:
    assert sort({"images/val/f12": PAGE, "labels/val/f12.txt": BOX}) == {"val": {"f12": ["illustration"]}}


@pytest.mark.parametrize("name", ["a.JPG", "a.Jpeg", "A page, 2.PNG", "été.tif"])
def test_suffixes_in_capitals_and_names_in_any_form_match(name: str) -> None:
    stem = name[: name.rfind(".")]
    files = {f"images/{unicodedata.normalize('NFD', name)}": PAGE, f"labels/{stem}.TXT": BOX}
    assert sort(files) == {"test": {stem: ["illustration"]}}


def test_names_with_backslashes_of_windows_are_folders() -> None:
    assert sort(fill("set\\images\\train\\a.jpg", "set\\labels\\train\\a.txt")) == {"train": ONE}


def test_two_labels_for_one_page_are_refused() -> None:
    with pytest.raises(RequestError, match=r"images/a.txt and labels/a.txt .* would be the labels of the same page"):
        sort(fill("images/a.jpg", "images/a.txt", "labels/a.txt"))


def test_a_page_in_two_lists_of_splits_is_refused() -> None:
    files = fill("x/a.jpg", "x/a.txt") | {"train.txt": b"x/a.jpg", "val.txt": b"x/a.jpg"}
    with pytest.raises(RequestError, match=r"x/a.jpg .* is for train by train.txt, but for val by val.txt"):
        sort(files)


def test_a_split_without_any_label_is_refused() -> None:
    with pytest.raises(RequestError, match="None of the 1 images for val has a label file"):
        sort(fill("images/train/a.jpg", "labels/train/a.txt", "images/val/b.jpg"))
