from pathlib import Path

from app.pipelines.detection.pages import FetchedPage, decode_page
from tests.unit.images.test_pixels import draw


def test_a_missing_file_has_no_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.image").write_bytes(draw(60, 80, (1, 1, 9, 9)).getvalue())
    pages = [FetchedPage(number, "", "", file) for number, file in enumerate(["a.image", "gone.image"], 1)]
    assert [decode_page(tmp_path, page, 640).pixels is None for page in pages] == [False, True]


def test_a_damaged_file_is_evicted(tmp_path: Path) -> None:
    file = tmp_path / "a.image"
    file.write_bytes(draw(600, 800, (1, 1, 9, 9)).getvalue()[:2000])
    file.with_suffix(".json").write_text("{}")
    assert decode_page(tmp_path, FetchedPage(1, "", "", file.name), 640).pixels is None
    assert list(tmp_path.iterdir()) == []
