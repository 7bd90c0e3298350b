"""Zip files of exports: XML, and the list of failed pages."""

import io
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from xml.etree import ElementTree as Tree

from app.detection.annotations import AnnotatedPage
from app.exports.document import ExportedDocument, ExportedPage

# Every time stamp is the same, so that the same result always gives the same file.
_DATE = (2000, 1, 1, 0, 0, 0)
# Namespace of the attribute that names the schema of an XML file.
XSI = "http://www.w3.org/2001/XMLSchema-instance"
# Characters that XML 1.0 does not permit: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
    document: ExportedDocument, format_page: Callable[[ExportedDocument, ExportedPage], bytes]
) -> bytes:
    """Return a zip with an XML file for each page. A failed page has no file; ``failed.txt`` lists it."""
    pages = ((f"{PurePosixPath(page.file_name).stem}.xml", format_page(document, page)) for page in document.processed)
    return format_zip([*pages, *list_failed(document)])


def list_failed(document: ExportedDocument) -> list[tuple[str, bytes]]:
    """Return the file ``failed.txt`` with a line for each failed page; nothing if there is none."""
    lines = [_describe_failed(page) for page in document.failed]
    return [("failed.txt", "".join(lines).encode("utf-8", "replace"))] if lines else []


def _describe_failed(page: AnnotatedPage) -> str:
    reason = " ".join(page.reason.split())
    return f"{page.number} {page.image_name} {reason}\n"
