from xml.etree import ElementTree as Tree

from app.exports import alto, page_xml
from app.exports.document import ExportedDocument
from tests.support.archives import open_zip

PAGE, ALTO = f"{{{page_xml.NAMESPACE}}}", f"{{{alto.NAMESPACE}}}"


def test_a_page_file_has_a_region_for_each_detection(document: ExportedDocument) -> None:
    files = open_zip(page_xml.format_archive(document))
    page = Tree.fromstring(files["a.xml"]).find(f"{PAGE}Page")  # noqa: S314
    assert page is not None
    assert page.attrib == {"imageFilename": "a.jpg", "imageWidth": "1000", "imageHeight": "800"}
    first, corner = page.findall(f"{PAGE}GraphicRegion")
    assert first.get("custom") == "structure {type:illustration;}"
    assert first[0].attrib == {"points": "100,200 400,200 400,600 100,600", "conf": "0.9312"}
    assert corner[0].get("points") == "900,700 1000,700 1000,800 900,800", "inside the page"


def test_a_failed_page_has_no_file_and_is_listed(document: ExportedDocument) -> None:
    for module in (page_xml, alto):
        files = open_zip(module.format_archive(document))
        assert list(files) == ["a.xml", "b.xml", "__b_&_é__.xml", "failed.txt"]
        assert files["failed.txt"].decode() == "3 c.jpg It answered 404.\n"


def test_an_empty_page_has_a_file_without_regions(document: ExportedDocument) -> None:
    page = Tree.fromstring(open_zip(page_xml.format_archive(document))["b.xml"])  # noqa: S314
    sheet = Tree.fromstring(open_zip(alto.format_archive(document))["b.xml"])  # noqa: S314
    assert (list(page.iter(f"{PAGE}GraphicRegion")), list(sheet.iter(f"{ALTO}Illustration"))) == ([], [])


def test_hostile_names_stay_text(document: ExportedDocument) -> None:
    name = "__b_&_é__.xml"
    page = Tree.fromstring(open_zip(page_xml.format_archive(document))[name])  # noqa: S314
    (region,) = page.iter(f"{PAGE}GraphicRegion")
    assert region.get("custom") == "structure {type:=cmd|'/c calc'!A1 <\N{REPLACEMENT CHARACTER};}"
    sheet = Tree.fromstring(open_zip(alto.format_archive(document))[name])  # noqa: S314
    (block,) = sheet.iter(f"{ALTO}Illustration")
    assert block.get("TYPE") == "=cmd|'/c calc'!A1;}:{<\N{REPLACEMENT CHARACTER}"


def test_an_alto_file_has_illustrations_with_zones(document: ExportedDocument) -> None:
    sheet = Tree.fromstring(open_zip(alto.format_archive(document))["a.xml"])  # noqa: S314
    assert sheet.findtext(f".//{ALTO}MeasurementUnit") == "pixel"
    assert sheet.findtext(f".//{ALTO}fileName") == "a.jpg"
    zones = {tag.get("ID"): tag.get("LABEL") for tag in sheet.iter(f"{ALTO}OtherTag")}
    first, initial = sheet.iter(f"{ALTO}Illustration")
    assert [first.get(name) for name in ("HPOS", "VPOS", "WIDTH", "HEIGHT")] == ["100", "200", "300", "400"]
    assert (first.get("TYPE"), zones[first.get("TAGREFS")]) == ("illustration", "GraphicZone")
    assert zones[initial.get("TAGREFS")] == "DropCapitalZone"
