"""Records of canvases: saved by appending lines, and read in spite of damaged lines."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.storage import RecordFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job" / "pages.jsonl"


@pytest.fixture(params=[True, False], ids=["synced", "not synced"])
def records(path: Path, request: pytest.FixtureRequest) -> RecordFile[int]:
    return RecordFile(path, sync=request.param)


def test_records_come_back_in_the_order_of_the_canvases(records: RecordFile[int]) -> None:
    records.save({10: {"file": "b"}, 2: {"file": "é\n\u2028"}})
    records.save({10_001: {"file": None}})
    assert records.load() == {2: {"file": "é\n\u2028"}, 10: {"file": "b"}, 10_001: {"file": None}}
    assert [*records.load()] == [2, 10, 10_001]
    assert records.list_keys() == {2, 10, 10_001}


def test_a_later_record_replaces_an_earlier_one(records: RecordFile[int]) -> None:
    records.save({1: {"file": "a"}, 2: {"file": "b"}})
    records.save({1: {"file": "c"}})
    assert (records.find(1), records.find(2), records.find(12)) == ({"file": "c"}, {"file": "b"}, None)


def test_a_removed_record_can_be_saved_again(records: RecordFile[int]) -> None:
    records.save({1: {"file": "a"}, 2: {"file": "b"}})
    records.save({1: None})
    assert (records.find(1), records.list_keys()) == (None, {2})
    records.save({1: {"file": "c"}})
    assert records.find(1) == {"file": "c"}


def test_names_are_keys_too(path: Path) -> None:
    records: RecordFile[str] = RecordFile(path, sync=False)
    records.save({'a "b", é\\': {"file": "a"}, "a": {"file": "b"}, "": {}})
    assert [records.find(name) for name in ('a "b", é\\', "a", "", '"')] == [{"file": "a"}, {"file": "b"}, {}, None]
    assert records.list_keys() == {'a "b", é\\', "a", ""}


def test_a_missing_file_has_no_records(records: RecordFile[int], path: Path) -> None:
    assert (records.load(), records.find(1), records.list_keys()) == ({}, None, set())
    records.save({})
    assert not path.exists()
    records.save({1: {}})
    records.remove()
    records.remove()
    assert records.load() == {}


@pytest.mark.parametrize("length", range(1, len('[3, {"file": "c"}]\n')))
def test_an_incomplete_line_is_left_out_and_damages_no_other(path: Path, length: int) -> None:
    records: RecordFile[int] = RecordFile(path, sync=False)
    records.save({1: {"file": "a"}, 2: {"file": "b"}})
    records.save({3: {"file": "c"}})
    complete = path.read_bytes()
    path.write_bytes(complete[:-length])
    assert records.list_keys() == ({1, 2, 3} if length == 1 else {1, 2})
    records.save({4: {"file": "d"}})
    assert records.list_keys() - {3} == {1, 2, 4}
    records.save({3: {"file": "e"}})
    assert records.load() == {n: {"file": name} for n, name in enumerate("abed", 1)}


@pytest.mark.parametrize("damage", [b"\0" * 40, b"\n\n", b"[2, \xff]\n", b"[2, {\n", b"2\n", b"[["])
def test_damaged_lines_are_left_out(records: RecordFile[int], path: Path, damage: bytes) -> None:
    records.save({1: {"file": "a"}})
    with path.open("ab") as file:
        file.write(damage)
    records.save({3: {"file": "c"}})
    assert records.load() == {1: {"file": "a"}, 3: {"file": "c"}}


def test_records_that_are_saved_at_the_same_time_stay_complete(records: RecordFile[int]) -> None:
    with ThreadPoolExecutor(8) as executor:
        [*executor.map(lambda number: records.save({number: {"text": "x" * 3 * number}}), range(1, 2001))]
    assert {number: len(record["text"]) for number, record in records.load().items()} == {
        number: 3 * number for number in range(1, 2001)
    }
