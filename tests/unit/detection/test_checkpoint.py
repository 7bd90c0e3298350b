import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from app.detection.weights_files.checkpoint import open_checkpoint
from app.errors import WeightsError
from tests.support.checkpoints import make_module, make_tensor, save_pickle, write_pickle

CONTENT = write_pickle({"model": make_module()})
REJECTED = r"x\.pt is not a torch checkpoint, or it is damaged"
INCOMPLETE = r"x\.pt is incomplete or damaged, as after an interrupted download: download or copy the file again\."


def assert_rejected(path: Path, reason: str = REJECTED) -> None:
    with pytest.raises(WeightsError, match=reason), open_checkpoint(path) as checkpoint:
        assert checkpoint.network


def test_network_and_content_of_a_checkpoint_are_read(tmp_path: Path) -> None:
    with open_checkpoint(save_pickle(tmp_path / "x.pt", CONTENT)) as checkpoint:
        assert checkpoint.network.kind == "ultralytics.nn.tasks.DetectionModel"
        assert not checkpoint.is_yolov5
        assert list(checkpoint.content) == ["model"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty: download"),
        (bytes(100_000), "contains only zero bytes: download"),
        (b"PK\x03\x04", "is incomplete or damaged"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html><title>Login", "is an HTML page"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n",
            "is a Git LFS pointer instead of the file: run",
        ),
        (CONTENT, "is not a torch checkpoint, or it is damaged"),
        (bytes(range(255, 0, -1)), "is not a torch checkpoint, or it is damaged"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_file_that_is_not_an_archive_is_named_for_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    assert_rejected(tmp_path / "x.pt", rf"^x\.pt {reason}[^\n]*\.$")


@pytest.mark.parametrize(
    "names",
    [["run/best.pt"], ["best/data.pkl", "best/constants.pkl", "best/code/a.py"], ["[Content_Types].xml"]],
    ids=["zip", "TorchScript", "office document"],
)
def test_an_archive_of_another_kind_is_rejected(tmp_path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in names:
            archive.writestr(name, b"\x80\x02}.")
    assert_rejected(tmp_path / "x.pt")


TENSORS = {"conv.weight": make_tensor((4,), (1,))}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TENSORS, "has the parameters of a network"),
        ({"epoch": 3, "model": TENSORS}, "has the parameters of a network"),
        ({"ema": {"module": TENSORS}}, "has the parameters of a network"),
        ({"state": {}, "param_groups": []}, "has the state of an optimizer, but no network"),
        (make_tensor((4,), (1,)), "does not contain a network"),
    ],
    ids=["parameters", "parameters in model", "parameters in ema", "optimizer", "tensor"],
)
def test_an_archive_with_tensors_only_says_so(tmp_path: Path, content: object, reason: str) -> None:
    assert_rejected(save_pickle(tmp_path / "x.pt", write_pickle(content)), rf"^x\.pt {reason}")


def test_a_newer_pickle_protocol_is_named(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", pickle.dumps({"model": None}, 5))
    assert_rejected(path, r"^x\.pt has pickle protocol 5 instead of 2: load it with torch and save it again with torch")


def test_a_truncated_archive_is_rejected(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT)
    whole = path.read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert_rejected(path, INCOMPLETE)


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
    assert_rejected(tmp_path / "x.pt", "damaged")


def test_a_huge_file_is_rejected_unread(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "x.pt", CONTENT)
    os.truncate(path, 10**11)  # a sparse file takes no space
    assert_rejected(path, r"x\.pt has 100000000000 bytes, but a detection checkpoint has at most")


@pytest.mark.parametrize("content", [None, [], {}, {"model": None}, {"model": [], "ema": "x"}])
def test_an_archive_without_a_network_is_rejected(tmp_path: Path, content: object) -> None:
    assert_rejected(save_pickle(tmp_path / "x.pt", write_pickle(content)), r"x\.pt does not contain a network")


def test_a_folder_and_a_missing_file_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "x.pt").mkdir()
    assert_rejected(tmp_path / "x.pt")
    assert_rejected(tmp_path / "y.pt", r"y\.pt no longer exists")
