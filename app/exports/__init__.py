"""Exports: results in the formats of other software, one writer for each format.

    document          ``ExportedDocument``: the pages of a result with their canvases, loaded from the job's folder
    annotation_files  the annotation file and the JSON of the API
    web_annotations   IIIF Presentation 3: annotation pages
    open_annotations  IIIF Presentation 2: annotation lists
    manifest          IIIF Presentation 3: a manifest with annotations, for viewers
    group_manifests   IIIF Presentation 3: a manifest for each group of a similarity job
    page_xml          PAGE XML 2019-07-15
    alto              ALTO 4 with SegmOnto tags
    coco              COCO JSON
    yolo              label files of YOLO
    csv_table         CSV: a line for each detection
    pair_tables       CSV of similarity jobs: pairs of images, and groups
    archive           zip files

In: the folder of a finished detection job, or the pairs and groups of a similarity job. Out: the content of a file.
Boxes are in pixels of the full-size image. In the IIIF formats, they are in canvas units.

A new format is one module with a function that returns the content of the file, and one entry in ``FORMATS``.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from app.exports import alto, annotation_files, coco, csv_table, open_annotations, page_xml, web_annotations, yolo
from app.exports.document import ExportedDocument

JSON, JSON_LD, ZIP = "application/json", "application/ld+json", "application/zip"


@dataclass(frozen=True)
class Format:
    """A format of results.

    Attributes:
        write: Function that returns the content of the file.
        mimetype: Media type of the file.
        ending: Last part of the file name.
    """

    write: Callable[[ExportedDocument], bytes | str]
    mimetype: str
    ending: str


FORMATS = {
    "text": Format(lambda document: annotation_files.format_text(document.records), "text/plain", ".txt"),
    "json": Format(lambda document: json.dumps(annotation_files.describe_pages(document.records)), JSON, ".json"),
    "iiif": Format(web_annotations.format_collection, JSON_LD, "-iiif.json"),
    "iiif2": Format(open_annotations.format_layer, JSON_LD, "-iiif2.json"),
    "page": Format(page_xml.format_archive, ZIP, "-page.zip"),
    "alto": Format(alto.format_archive, ZIP, "-alto.zip"),
    "coco": Format(coco.format_labels, JSON, "-coco.json"),
    "yolo": Format(yolo.format_archive, ZIP, "-yolo.zip"),
    "csv": Format(csv_table.format_table, "text/csv", ".csv"),
}
