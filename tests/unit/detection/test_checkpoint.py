import os
import struct
import zipfile
from pathlib import Path

import pytest

from app.detection.checkpoint import open_checkpoint
from app.errors import WeightsError
from tests.support.checkpoints import make_module, save_pickle, write_pickle

CONTENT = write_pickle({"model": make_module()})
REJECTED = r"x\.pt is not a torch checkpoint, or it is damaged"


def assert_rejected(path: Path, reason: str = REJECTED) -> None:
    with pytest.raises(WeightsError, match=reason), open_checkpoint(path) as checkpoint:
        assert checkpoint.network


def test_network_and_content_of_a_checkpoint_are_read(tmp_path: Path) -> None:
    with open_checkpoint(save_pickle(tmp_path / "x.pt", CONTENT)) as checkpoint:
        assert checkpoint.network.kind == "ultralytics.nn.tasks.DetectionModel"
        assert not checkpoint.is_yolov5
        assert list(checkpoint.content) == ["model"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>", CONTENT, b"\x00" * 100_000])
def test_a_file_that_is_not_an_archive_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    assert_rejected(tmp_path / "x.pt")


def test_a_truncated_archive_is_rejected(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert_rejected(path)


def test_compressed_archives_are_rejected(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", CONTENT)  # rejected although it does not unpack to more than the file
    assert_rejected(tmp_path / "x.pt")


def test_overlapping_entries_are_rejected(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT, **{"0": bytes(1000)})
    with zipfile.ZipFile(path, "a") as archive:
        for name in range(1, 100):
            entry = archive.getinfo("archive/data/0")
            again = zipfile.ZipInfo(f"archive/data/{name}")
            again.file_size = again.compress_size = entry.file_size
            again.CRC, again.header_offset = entry.CRC, entry.header_offset
            archive.filelist.append(again)
        archive._didModify = True  # type: ignore[attr-defined]
    assert_rejected(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_pickles_with_the_same_name_are_rejected(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cos\nsystem\n.")
    assert_rejected(path)


def test_reading_of_a_huge_directory_is_limited(tmp_path: Path) -> None:
    entry = struct.pack("<4s4B4H3L5H2L", b"PK\x01\x02", *[0] * 18)
    count = 200_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count % 65536, count % 65536, len(entry) * count, 0, 0)
    (tmp_path / "x.pt").write_bytes(entry * count + end)
    assert_rejected(tmp_path / "x.pt")


def test_a_huge_file_is_rejected_unread(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT)
    os.truncate(path, 10**11)  # a sparse file takes no space
    assert_rejected(path, r"x\.pt has 100000000000 bytes, but a detection checkpoint has at most")


@pytest.mark.parametrize("content", [None, [], {}, {"model": None}, {"model": [], "ema": "x"}])
def test_an_archive_without_a_network_is_rejected(tmp_path: Path, content: object) -> None:
    assert_rejected(
        save_pickle(tmp_path / "x.pt", write_pickle(content)), r"x\.pt (does not contain a network|is not a checkpoint)"
    )


def test_a_folder_and_a_missing_file_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "x.pt").mkdir()
    assert_rejected(tmp_path / "x.pt")
    assert_rejected(tmp_path / "y.pt", r"y\.pt no longer exists")
