"""CSV: a line for each detection, in pixels of the full-size image. Pages without detections have no line."""

import csv
import io
from collections.abc import Iterable, Sequence

from app.exports.document import ExportedDocument

Value = str | float | None

COLUMNS = (
    *("canvas_number", "canvas_id", "image_name", "image_width", "image_height"),
    *("x", "y", "width", "height", "confidence", "class_id", "class_name", "crop_url"),
)


def format_table(document: ExportedDocument) -> str:
    """Return the table. ``crop_url`` is empty for pages without an image service that cuts regions."""
    return format_csv(COLUMNS, _list_rows(document))


def _list_rows(document: ExportedDocument) -> Iterable[Sequence[Value]]:
    for page in document.processed:
        record = page.record
        for box in page.boxes:
            head = record.number, record.canvas_id, record.image_name, *page.size
            tail = box.confidence, box.class_id, box.class_name, page.build_crop_url(box)
            yield [escape_formula(value) for value in (*head, *box.xywh, *tail)]


def format_csv(columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> str:
    """Return a CSV file with a line of column names. None is an empty cell."""
    content = io.StringIO()
    writer = csv.writer(content)
    writer.writerow(columns)
    writer.writerows(rows)
    return content.getvalue()


def escape_formula(value: Value) -> Value:
    """Return a value that spreadsheets do not take for a formula: a text that starts like one gets an apostrophe.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
