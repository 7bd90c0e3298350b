from pathlib import Path

import pytest

from app.storage import JobFolder, Storage, build_key, write_atomic


def test_manifests_with_the_same_label_do_not_share_a_folder(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    assert storage.images("https://a.example/ms/1") != storage.images("https://a.example/ms1")


@pytest.mark.parametrize("text", ["../../etc/passwd", "a/b", "\0", "é\udcff", "x" * 10_000])
def test_a_key_is_a_plain_file_name(text: str) -> None:
    assert build_key(text).isalnum()
    assert len(build_key(text)) == 40


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "file", "not bytes")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_records_come_back_in_the_order_of_the_canvases(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    for number in (10, 2, 10_001):
        folder.save("pages", number, {"number": number})
    assert [record["number"] for record in folder.load("pages")] == [2, 10, 10_001]
