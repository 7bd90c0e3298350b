from pathlib import Path

from app.pipelines.detection.pages import FetchedPage, load_batches, load_page_image
from tests.unit.images.test_pixels import draw


def test_pages_are_loaded_in_batches_and_a_missing_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.image").write_bytes(draw(60, 80, (1, 1, 9, 9)).getvalue())
    pages = [FetchedPage(number, "", "", file) for number, file in enumerate(["a.image", "gone.image", "a.image"], 1)]
    batches = list(load_batches(tmp_path, pages, 2, 640))
    assert [[image.page.number for image in batch] for batch in batches] == [[1, 2], [3]]
    assert [image.pixels is None for batch in batches for image in batch] == [False, True, False]


def test_a_damaged_file_is_evicted(tmp_path: Path) -> None:
    file = tmp_path / "a.image"
    file.write_bytes(draw(600, 800, (1, 1, 9, 9)).getvalue()[:2000])
    file.with_suffix(".json").write_text("{}")
    assert load_page_image(tmp_path, FetchedPage(1, "", "", file.name), 640).pixels is None
    assert list(tmp_path.iterdir()) == []
