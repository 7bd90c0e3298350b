"""Zip files of exports: names that are safe on every system, XML, and the list of failed pages."""

import io
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Tree

from app.detection.annotations import AnnotatedPage

if TYPE_CHECKING:
    from app.exports.document import ExportedDocument, ExportedPage

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
_LONGEST_NAME = 120
# Every time stamp is the same, so that the same result always gives the same file.
_DATE = (2000, 1, 1, 0, 0, 0)
# Namespace of the attribute that names the schema of an XML file.
XSI = "http://www.w3.org/2001/XMLSchema-instance"
# Characters that XML 1.0 does not permit: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def name_files(images: Sequence[tuple[int, str]]) -> list[str]:
    """Return a file name for each image, from its page number and its name.

    The names are safe on all common systems. If two of them differ only in case or ending, their label files would
    overwrite each other. Then all names start with the page number.
    """
    names = [clean_name(name) for _, name in images]
    if len({PurePosixPath(name).stem.casefold() for name in names}) == len(names):
        return names
    return [f"{number:04d}_{name}" for (number, _), name in zip(images, names, strict=True)]


def clean_name(name: str) -> str:
    """Return a file name that is safe on every system and in a header, from any text."""
    path = PurePosixPath(_UNSAFE.sub("_", name).strip(" .") or "page.jpg")
    if len(path.name) <= _LONGEST_NAME:
        return path.name
    return f"{path.stem[: _LONGEST_NAME - 10].rstrip(' .')}{path.suffix[:10].rstrip(' .')}"


def clean_text(text: str) -> str:
    """Return a text with only characters that XML permits."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def format_xml(root: Tree.Element) -> bytes:
    """Return an XML file."""
    Tree.indent(root)
    return bytes(Tree.tostring(root, encoding="UTF-8", xml_declaration=True)) + b"\n"


def format_zip(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a zip file with files, given as (name, content)."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name, _DATE)
            info.external_attr = 0o644 << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return content.getvalue()


def format_page_files(
    document: "ExportedDocument", format_page: Callable[["ExportedDocument", "ExportedPage"], bytes]
) -> bytes:
    """Return a zip with an XML file for each page. A failed page has no file; ``failed.txt`` lists it."""
    pages = ((f"{PurePosixPath(page.file_name).stem}.xml", format_page(document, page)) for page in document.processed)
    return format_zip([*pages, *list_failed(document)])


def list_failed(document: "ExportedDocument") -> list[tuple[str, bytes]]:
    """Return the file ``failed.txt`` with a line for each failed page; nothing if there is none."""
    lines = [_describe_failed(page) for page in document.failed]
    return [("failed.txt", "".join(lines).encode("utf-8", "replace"))] if lines else []


def _describe_failed(page: AnnotatedPage) -> str:
    reason = " ".join(page.reason.split())
    return f"{page.number} {page.image_name} {reason}\n"
