import os
import struct
import zipfile
from pathlib import Path

import pytest

from app.detection.checkpoint import open_checkpoint
from app.errors import WeightsError
from tests.support.checkpoints import make_module, save_pickle, write_pickle

CONTENT = write_pickle({"model": make_module()})
REFUSED = r"x\.pt is not a checkpoint of torch, or a damaged one"


def is_refused(path: Path, reason: str = REFUSED) -> None:
    with pytest.raises(WeightsError, match=reason), open_checkpoint(path) as checkpoint:
        assert checkpoint.network


def test_the_network_and_what_lies_beside_it_are_read(tmp_path: Path) -> None:
    with open_checkpoint(save_pickle(tmp_path / "x.pt", CONTENT)) as checkpoint:
        assert checkpoint.network.kind == "ultralytics.nn.tasks.DetectionModel"
        assert not checkpoint.is_yolov5
        assert list(checkpoint.content) == ["model"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>", CONTENT, b"\x00" * 100_000])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    is_refused(tmp_path / "x.pt")


def test_an_archive_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        is_refused(path)


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", CONTENT)  # which does not even unpack to more than the file
    is_refused(tmp_path / "x.pt")


def test_entries_that_lie_on_one_another_are_refused(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT, **{"0": bytes(1000)})
    with zipfile.ZipFile(path, "a") as archive:
        for name in range(1, 100):
            entry = archive.getinfo("archive/data/0")
            again = zipfile.ZipInfo(f"archive/data/{name}")
            again.file_size = again.compress_size = entry.file_size
            again.CRC, again.header_offset = entry.CRC, entry.header_offset
            archive.filelist.append(again)
        archive._didModify = True  # type: ignore[attr-defined]
    is_refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_pickles_of_one_name_are_refused(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02cos\nsystem\n.")
    is_refused(path)


def test_an_endless_directory_is_not_read_to_its_end(tmp_path: Path) -> None:
    entry = struct.pack("<4s4B4H3L5H2L", b"PK\x01\x02", *[0] * 18)
    count = 200_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count % 65536, count % 65536, len(entry) * count, 0, 0)
    (tmp_path / "x.pt").write_bytes(entry * count + end)
    is_refused(tmp_path / "x.pt")


def test_an_immense_file_is_refused_unread(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT)
    os.truncate(path, 10**11)  # which takes no space
    is_refused(path, r"x\.pt has 100000000000 bytes, more than any checkpoint")


@pytest.mark.parametrize("content", [None, [], {}, {"model": None}, {"model": [], "ema": "x"}])
def test_an_archive_without_a_network_is_refused(tmp_path: Path, content: object) -> None:
    is_refused(save_pickle(tmp_path / "x.pt", write_pickle(content)), r"x\.pt (holds no network|is not a checkpoint)")


def test_a_folder_and_a_file_that_is_gone_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt").mkdir()
    is_refused(tmp_path / "x.pt")
    is_refused(tmp_path / "y.pt", r"y\.pt is no longer there")
