import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest

from app.detection.weights_files import pickles
from app.detection.weights_files.pickles import Record, parse_pickle


class Call:
    """An object whose pickle calls a function when it is loaded."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.arguments[0], self.arguments[1:]


class Thing:
    """An object with a state."""

    def __init__(self) -> None:
        self.size = 3


def write(value: object) -> bytes:
    return pickle.dumps(value, 2)


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -(2**40), 2.5, None, True], "é": ("x", (), (1, 2, 3, 4)), 3: {}},
        OrderedDict(a=1, b=OrderedDict()),
        [[]] * 3,
        "x" * 1000,
    ],
)
def test_plain_values_are_parsed_as_by_pickle(value: object) -> None:
    assert parse_pickle(write(value)).content == value


def test_an_object_is_a_record_with_its_state() -> None:
    reading = parse_pickle(write([Thing()]))
    (record,) = reading.content
    assert isinstance(record, Record)
    assert (record.kind, record.args, record.state) == (f"{__name__}.Thing", (), {"size": 3})
    assert reading.records == [record]
    assert list(reading.names) == [f"{__name__}.Thing"]
    assert not reading.called


def test_names_are_recorded_but_never_imported_or_called(tmp_path: Path) -> None:
    attack = write({"a": Call(os.mkdir, str(tmp_path / "ran")), "b": Call(eval, "1/0")})
    reading = parse_pickle(attack)
    assert reading.content["a"].args == (str(tmp_path / "ran"),)
    assert list(reading.called) == [f"{os.mkdir.__module__}.mkdir", "builtins.eval"]
    assert parse_pickle(b"\x80\x02cantigravity\nfly\n)R.").content.kind == "antigravity.fly"
    assert not list(tmp_path.iterdir())


def test_a_call_of_a_call_result_is_recorded() -> None:
    content = b"\x80\x02cbuiltins\ngetattr\n(cpathlib\nPath\nU\x05touchtR)R."
    assert list(parse_pickle(content).called) == ["builtins.getattr", "the result of builtins.getattr"]


# Each of forty tuples contains the previous one twice, so hashing the last one would visit 2**40 elements.
DOUBLING = b"\x80\x02)" + b"q\x00h\x00\x86" * 40


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02N",
        b".",
        b"\x80\x02h\x07.",
        b"\x80\x02N}b.",
        b"\x80\x02U\x04echo)R.",
        b"\x80\x02NNs.",
        b"\x80\x02}(NNNu.",
        b"\x80\x02]Na" + b"t.",
        b"\x80\x02NNa.",
        b"\x80\x02ccollections\nOrderedDict\n(NtR}NNs.",
        b"\x80\x02}" + DOUBLING[2:] + b"Ns.",  # as a key
        b"\x80\x02}\x8a\x10" + b"\xff" * 15 + b"\x00Ns.",  # a large number as a key
        b"\x80\x05\x96" + b"\xff" * 6 + b"\x00\x00.",  # an array of 2**48 bytes
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # a name from the stack
        b"\x80\x02\x82\x01.",  # a name from the extension registry
        b"(S'echo'\nios\nsystem\n.",  # protocol 0
    ],
)
def test_opcodes_that_torch_does_not_write_are_rejected(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_pickle(content)


def test_deeply_nested_and_shared_values_are_parsed_fast() -> None:
    assert parse_pickle(DOUBLING + b".").content
    assert parse_pickle(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".").content
    assert parse_pickle(b"\x80\x02]q\x00h\x00a.").content


def test_length_and_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MOST_STEPS", 100)
    assert parse_pickle(b"\x80\x02" + b"N0" * 48 + b"N.").content is None
    with pytest.raises(ValueError, match="steps"):
        parse_pickle(b"\x80\x02" + b"N0" * 100 + b"N.")
    monkeypatch.setattr(pickles, "LONGEST", 1000)
    with pytest.raises(ValueError, match="bytes"):
        parse_pickle(write("x" * 1000))


def test_a_storage_is_represented_by_its_id() -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", "0") if value is io else None

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"x": io})
    assert parse_pickle(buffer.getvalue()).content == {"x": ("storage", "0")}
