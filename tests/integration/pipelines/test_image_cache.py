import errno
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.detection.parts import choose_grid
from app.errors import FetchError
from app.iiif.canvas import CanvasImage
from app.iiif.fetch import Fetcher
from app.iiif.image_api import ImageService
from app.images.pixels import read_size
from app.pipelines.image_cache import ImageCache, evict_damaged
from tests.support.library import Answer, Library, draw_image
from tests.support.pyramid import BOX, Pyramid, find_box

JPEG = draw_image(300, 400)
HALF = JPEG[: len(JPEG) // 2]


@pytest.fixture
def shelf() -> Iterator[Library]:
    with Library().open() as library:
        yield library


@pytest.fixture
def cache(tmp_path: Path, fetcher: Fetcher) -> ImageCache:
    return ImageCache(tmp_path / "images", fetcher, 640)


def plain_image(url: str) -> CanvasImage:
    return CanvasImage(url, None, None, None)


@pytest.mark.parametrize("answer", [Answer(body=HALF), Answer(body="<html>sign in</html>"), Answer(404), Answer()])
def test_a_failed_fetch_leaves_no_file_and_is_repeated(shelf: Library, cache: ImageCache, answer: Answer) -> None:
    image = plain_image(shelf.answer("/x.jpg", answer, Answer(body=JPEG)))
    with pytest.raises(FetchError):
        cache.fetch(image)
    assert not cache.folder.exists() or list(cache.folder.iterdir()) == []
    assert cache.fetch(image).width == 300


def test_a_cached_image_is_not_fetched_again(shelf: Library, cache: ImageCache) -> None:
    image = plain_image(shelf.answer("/x.jpg", Answer(body=JPEG)))
    assert cache.fetch(image) == cache.fetch(image)
    assert (cache.folder / cache.fetch(image).file).read_bytes() == JPEG
    assert shelf.paths == ["/x.jpg"]


@pytest.mark.parametrize("stated", [(600, 9000), (None, None)])
def test_a_scroll_of_a_static_service_is_put_together_from_tiles(
    shelf: Library, tmp_path: Path, fetcher: Fetcher, stated: tuple[int | None, int | None]
) -> None:
    base = Pyramid(600, 9000, tile=512, factors=(1, 4, 16)).serve(shelf)
    cache = ImageCache(tmp_path / "images", fetcher, 640, choose_grid=choose_grid)
    cached = cache.fetch(CanvasImage("", *stated, ImageService(base, 2, 0)))
    data = (cache.folder / cached.file).read_bytes()
    assert read_size(io.BytesIO(data)) == (cached.width, cached.height) == (600, 9000)
    assert find_box(data, (600, 9000)) == pytest.approx(BOX, abs=1)


def test_an_image_without_a_record_is_fetched_again(shelf: Library, cache: ImageCache) -> None:
    image = plain_image(shelf.answer("/x.jpg", Answer(body=JPEG)))
    file = cache.folder / cache.fetch(image).file
    file.write_bytes(HALF)
    file.with_suffix(".json").unlink()
    cache.fetch(image)
    assert file.read_bytes() == JPEG
    assert json.loads(file.with_suffix(".json").read_bytes())["width"] == 300


def test_using_a_cached_image_updates_its_last_use(shelf: Library, cache: ImageCache) -> None:
    image = plain_image(shelf.answer("/x.jpg", Answer(body=JPEG)))
    record = (cache.folder / cache.fetch(image).file).with_suffix(".json")
    os.utime(record, (0, 0))
    cache.fetch(image)
    assert record.stat().st_mtime > 0


def test_each_size_has_its_own_file(shelf: Library, cache: ImageCache, fetcher: Fetcher) -> None:
    image = plain_image(shelf.answer("/x.jpg", Answer(body=JPEG)))
    larger = ImageCache(cache.folder, fetcher, 1280)
    assert cache.fetch(image).file != larger.fetch(image).file


@pytest.mark.parametrize("record", [b"", b"[]", b'{"file": 1}', None])
def test_an_image_whose_record_cannot_be_read_is_fetched_again(
    shelf: Library, cache: ImageCache, record: bytes | None
) -> None:
    image = plain_image(shelf.answer("/x.jpg", Answer(body=JPEG)))
    path = cache.folder / cache.fetch(image).file
    if record is None:
        path.unlink()
    else:
        path.with_suffix(".json").write_bytes(record)
    assert not cache.holds(path.name)
    assert cache.fetch(image).width == 300
    assert cache.holds(path.name)


def test_an_image_is_kept_if_the_system_refused_to_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.image"
    path.touch()
    with pytest.raises(OSError, match="Too many"):
        evict_damaged(path, OSError(errno.EMFILE, "Too many open files"))
    assert path.exists()
    evict_damaged(path, OSError("image file is truncated"))
    assert not path.exists()
