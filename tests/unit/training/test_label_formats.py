"""Labels of annotation tools in JSON and XML: COCO, LabelMe, Pascal VOC, CVAT."""

import json
import re
from typing import Any

import pytest

from app.errors import RequestError
from app.training.label_formats.coco import parse_coco
from app.training.label_formats.label_xml import parse_xml
from app.training.label_formats.labelme import parse_labelme
from app.training.label_formats.yolo import LabelledBox
from tests.support.sorted_pages import PAGE, make_coco, make_labelme, make_voc, sort

BOX = LabelledBox("illustration", (0.4, 0.3, 0.6, 0.7))
ONE = {"a": ["illustration"]}


def read_coco(**annotation: Any) -> list[LabelledBox]:
    (image,) = parse_coco(json.loads(make_coco(**annotation)), "x.json")
    return [LabelledBox(box.class_name, tuple(round(edge, 6) for edge in box.xyxy)) for box in image.boxes]  # type: ignore[arg-type]


def read_labelme(**shape: Any) -> list[LabelledBox]:
    return list(parse_labelme(json.loads(make_labelme(**shape)), "a.json").boxes)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param(
            {
                "annotations/instances_train2017.json": make_coco(["a.jpg"]),
                "annotations/instances_val2017.json": make_coco(["b.jpg"]),
                "annotations/captions_val2017.json": b'{"images": [], "annotations": [{"caption": "x"}]}',
                "annotations/person_keypoints_val2017.json": make_coco(["b.jpg"], {1: "person"}),
                "images/train2017/a.jpg": PAGE,
                "images/val2017/b.jpg": PAGE,
            },
            {"train": ONE, "val": {"b": ["illustration"]}},
            id="COCO",
        ),
        pytest.param(
            {"annotations/instances_default.json": make_coco(["a.jpg"]), "images/default/a.jpg": PAGE},
            {"test": ONE},
            id="CVAT, COCO 1.0",
        ),
        pytest.param(
            {
                "annotations/instances_Train.json": make_coco(["a.jpg"]),
                "annotations/instances_Validation.json": make_coco(["b.jpg"]),
                "images/a.jpg": PAGE,
                "images/b.jpg": PAGE,
            },
            {"train": ONE, "val": {"b": ["illustration"]}},
            id="CVAT, COCO 1.0 of a project, images in one folder",
        ),
        pytest.param(
            {"result.json": make_coco(["images\\0af-a.jpg"]), "images/0af-a.jpg": PAGE},
            {"test": {"0af-a": ["illustration"]}},
            id="Label Studio, COCO",
        ),
        pytest.param(
            {
                "train/_annotations.coco.json": make_coco(
                    ["a_jpg.rf.1f.jpg"], {0: "pages", 1: "illustration"}, category_id=1
                ),
                "train/a_jpg.rf.1f.jpg": PAGE,
                "valid/_annotations.coco.json": make_coco(["b.jpg"]),
                "valid/b.jpg": PAGE,
                "README.roboflow.txt": b"x",
            },
            {"train": {"a_jpg.rf.1f": ["illustration"]}, "val": {"b": ["illustration"]}},
            id="Roboflow, COCO",
        ),
        pytest.param(
            {"all.json": make_coco(["train/a.jpg", "val/a.jpg"]), "images/train/a.jpg": PAGE, "images/val/a.jpg": PAGE},
            {"train": ONE, "val": ONE},
            id="one file for all splits",
        ),
        pytest.param(
            {"train.json": make_coco(["ms1/1.jpg", "ms2/1.jpg"]), "images/ms1/1.jpg": PAGE, "images/ms2/1.jpg": PAGE},
            {"train": {"ms1_1": ["illustration"], "ms2_1": ["illustration"]}},
            id="folders of documents",
        ),
    ],
)
def test_coco_json_of_several_tools_is_read(files: dict[str, bytes], found: dict[str, dict[str, list[str]]]) -> None:
    """Layouts: https://docs.cvat.ai/docs/dataset_management/formats/format-coco, https://labelstud.io/guide/export,
    https://rfdetr.roboflow.com/latest/learn/train/dataset-formats, https://cocodataset.org/#download.
    """
    assert sort(files) == found
    assert sort({f"export/{name}": content for name, content in files.items()}) == found


@pytest.mark.parametrize(
    "name",
    [
        *("a.jpg", "x/y/a.jpg", "x\\a.jpg", "/data/upload/1/a.jpg", "https://example.org/iiif/a.jpg?size=full"),
        *("/data/local-files/?d=scans/a.jpg", "a", "a.png"),
    ],
)
def test_an_image_is_found_by_the_name_path_or_url_in_coco(name: str) -> None:
    assert sort({"result.json": make_coco([name]), "images/a.jpg": PAGE}) == {"test": ONE}


def test_a_dot_in_a_name_is_not_always_a_suffix() -> None:
    files = {"result.json": make_coco(["ms.1"]), "images/ms.1.jpg": PAGE, "images/ms.jpg": PAGE}
    assert sort(files) == {"test": {"ms.1": ["illustration"], "ms": []}}


def test_an_image_with_escaped_letters_in_its_url_is_found() -> None:
    files = {"result.json": make_coco(["/data/upload/une%20page%20%C3%A9.jpg"]), "images/une page é.jpg": PAGE}
    assert sort(files) == {"test": {"une page é": ["illustration"]}}


@pytest.mark.parametrize(
    "annotation",
    [
        {},
        {"bbox": ["40", 60.0, 20, 80]},
        {"bbox": [], "segmentation": [[40, 60, 60, 60, 60, 140], [40, 100, 50, 140, 45, 120]]},
        {"segmentation": {"size": [200, 100], "counts": "x"}},
        {"categories": {1: "x", 90: "illustration"}, "category_id": 90},
        {"categories": {"1": "illustration"}, "category_id": 1},
        {"category_id": 7.0},
        {"iscrowd": 1, "segmentation": {"size": [200, 100], "counts": "x"}},  # a mask, as CVAT exports it
    ],
)
def test_the_box_of_a_coco_annotation_is_read(annotation: dict[str, Any]) -> None:
    assert read_coco(**annotation) == [BOX]


@pytest.mark.parametrize("annotation", [{"bbox": [40, 60, 0, 80]}, {"bbox": [40, 60, 20, 0]}])
def test_boxes_without_area_are_left_out(annotation: dict[str, Any]) -> None:
    assert read_coco(**annotation) == []


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        ({"bbox": [40, 60, 80, 80]}, "x.json, annotation 1: the box extends beyond the page"),
        ({"bbox": [40, 60, 20]}, "x.json, annotation 1: the bbox is not [left, top, width, height]"),
        ({"bbox": [40, float("nan"), 20, 80]}, "x.json, annotation 1: 'nan' is not a number"),
        ({"bbox": [40, True, 20, 80]}, "x.json, annotation 1: 'True' is not a number"),
        ({"bbox": None}, "x.json, annotation 1: the bbox is not"),
        ({"bbox": [0.4, 0.3, 0.2, 0.4]}, "x.json, annotation 1: the box is in fractions of the page, not in pixels"),
        ({"category_id": 8}, "x.json, annotation 1: no category has the id '8'"),
        ({"category_id": None}, "x.json, annotation 1: there is no category_id"),
        ({"image_id": 99}, "x.json, annotation 1: no image has the id '99'"),
    ],
)
def test_a_faulty_coco_annotation_is_named(annotation: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError, match=f"^{re.escape(sentence)}"):
        read_coco(**annotation)


@pytest.mark.parametrize("size", [{"width": None}, {"height": 0}, {"width": "x"}])
def test_coco_images_need_their_size(size: dict[str, Any]) -> None:
    document = json.loads(make_coco())
    document["images"][0] |= size
    with pytest.raises(RequestError, match=r"^x.json, image '5': "):
        parse_coco(document, "x.json")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"result.json": make_coco(["a.jpg", "b.jpg"])}, "same split: 'b.jpg' of result.json in dataset_zip"),
        ({"result.json": b"{"}, "result.json in dataset_zip is not valid JSON"),
        ({"result.json": b"[" * 100_000}, "result.json in dataset_zip is not valid JSON"),
        ({"result.json": b'[{"data": {"image": "a.jpg"}}]'}, "None of the 1 images for test has a label file"),
        ({"a.xml": b"<annotation>"}, "a.xml in dataset_zip is not valid XML"),
    ],
)
def test_documents_that_do_not_fit_the_images_are_named(files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(RequestError, match=re.escape(sentence)):
        sort({"images/a.jpg": PAGE} | files)


def test_a_document_for_many_images_may_have_the_name_of_one() -> None:
    files = {"images/a.jpg": PAGE, "images/b.jpg": PAGE, "a.json": make_coco(["a.jpg", "b.jpg"])}
    assert sort(files) == {"test": {"a": ["illustration"], "b": ["illustration"]}}


def test_an_image_in_the_folder_of_another_split_is_refused() -> None:
    files = {"images/train/a.jpg": PAGE, "annotations/instances_val.json": make_coco()}
    with pytest.raises(RequestError, match=r"is for train by images/train, but for val by annotations/instances_val"):
        sort(files)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ({}, [BOX]),
        ({"points": [[60, 140], [40, 60]]}, [BOX]),
        ({"shape_type": "polygon", "points": [[40, 60], [60, 100], [50, 140]]}, [BOX]),
        (
            {"shape_type": "circle", "points": [[50, 100], [50, 110]]},
            [LabelledBox("illustration", (0.4, 0.45, 0.6, 0.55))],
        ),
        ({"shape_type": "point", "points": [[40, 60]]}, []),
        ({"shape_type": "line"}, []),
        ({"points": [[40, 60], [40, 140]]}, []),
    ],
)
def test_shapes_of_labelme_are_read_as_boxes(shape: dict[str, Any], found: list[LabelledBox]) -> None:
    """The shapes of the manual: https://github.com/wkentaro/labelme."""
    assert read_labelme(**shape) == found


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"label": None}, "a.json, shape 1: there is no label"),
        ({"points": "x"}, "a.json, shape 1: the points are not pairs"),
        ({"points": [[1, 2, 3]]}, "a.json, shape 1: the points are not pairs"),
        ({"points": [[1, 2], [3, "x"]]}, "a.json, shape 1: 'x' is not a number"),
        ({"points": [[1, 2], [300, 20]]}, "a.json, shape 1: the box extends beyond the page"),
    ],
)
def test_a_faulty_shape_of_labelme_is_named(shape: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RequestError, match=f"^{re.escape(sentence)}"):
        read_labelme(**shape)


def read_cvat(shape: str) -> list[LabelledBox]:
    xml = f'<annotations><image name="a.jpg" width="100" height="200">{shape}</image></annotations>'
    (image,) = parse_xml(xml.encode(), "annotations.xml")
    return [LabelledBox(box.class_name, tuple(round(edge, 6) for edge in box.xyxy)) for box in image.boxes]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ('<box label="illustration" xtl="40" ytl="60" xbr="60" ybr="140"/>', [BOX]),
        ('<box label="illustration" xtl="10" ytl="90" xbr="90" ybr="110" rotation="90.0"/>', [BOX]),
        ('<polygon label="illustration" points="40,60;60,100;50,140"/>', [BOX]),
        ('<ellipse label="illustration" cx="50" cy="100" rx="10" ry="40"/>', [BOX]),
        ('<mask label="illustration" rle="1" left="40" top="60" width="20" height="80"/>', [BOX]),
        ('<polyline label="illustration" points="1,2;3,4"/><tag label="x"/>', []),
    ],
)
def test_shapes_of_cvat_are_read_as_boxes(shape: str, found: list[LabelledBox]) -> None:
    """The shapes of the manual: https://docs.cvat.ai/docs/manual/advanced/xml_format/."""
    assert read_cvat(shape) == found


def test_pascal_voc_and_the_xml_of_labelme_are_read() -> None:
    """LabelMe on the web, and CVAT's format LabelMe 3.0, write polygons: https://github.com/CSAILVision/LabelMeAnnotationTool."""
    (voc,) = parse_xml(make_voc(), "a.xml")
    assert (voc.file_name, voc.boxes) == ("a.jpg", [BOX])
    points = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in [(40, 60), (60, 60), (60, 140)])
    shape = f"<object><name>illustration</name><deleted>0</deleted><polygon>{points}</polygon></object>"
    size = "<imagesize><nrows>200</nrows><ncols>100</ncols></imagesize>"
    (page,) = parse_xml(f"<annotation><filename>a.jpg</filename>{shape}{size}</annotation>".encode(), "a.xml")
    assert page.boxes == [BOX]


@pytest.mark.parametrize("xml", ["<alto/>", "<PcGts/>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation/>'])
def test_xml_of_other_kinds_and_entities_are_not_read(xml: str) -> None:
    assert parse_xml(xml.encode(), "a.xml") == []
