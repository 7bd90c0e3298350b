"""Parsing of a pickle without running it.

A pickle is a program for a stack machine that looks up Python names and calls them. This parser represents a name as a
``Name`` and the result of a call as a ``Record``. It never imports, looks up or calls anything.

It supports the opcodes that ``torch.save`` uses (protocol 2, https://docs.python.org/3/library/pickletools.html). The
cost is bounded: it limits the length, the number of opcodes, and the types of dictionary keys, because some keys take
forever to hash.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The pickle of a yolov9e checkpoint with optimizer state has 1.5 MB and 440,000 opcodes.
LONGEST = 8_000_000
MOST_STEPS = 1_000_000
# Larger integers could be chosen to collide in the hash table of a dictionary.
_LARGEST_KEY = 2**31


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a class or a function, with its module."""

    kind: str


@dataclass(eq=False, slots=True)
class Record:
    """An object in a pickle.

    Attributes:
        kind: Name of its class, or of the function that returns it.
        args: Arguments of the class or function.
        state: State for ``__setstate__``, usually a dictionary of the attributes.
    """

    kind: str
    args: tuple[Any, ...]
    state: Any = None


@dataclass
class Reading:
    """The result of parsing a pickle.

    Attributes:
        content: Pickled value: dictionaries, lists, records and plain values.
        names: All names in order of appearance.
        called: Names of functions and classes that are called; creating an empty instance does not count.
        records: All records.
    """

    content: Any = None
    names: dict[str, None] = field(default_factory=dict)
    called: dict[str, None] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)


def parse_pickle(content: bytes) -> Reading:
    """Parse a pickle.

    Raises:
        ValueError: If the pickle is too long, broken, or uses opcodes that ``torch.save`` does not.
    """
    if len(content) > LONGEST:
        raise ValueError(f"the pickle has {len(content)} bytes, more than {LONGEST}")
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if number >= MOST_STEPS:
                raise ValueError(f"the pickle has more than {MOST_STEPS} steps")
            if opcode.name == "STOP":
                machine.reading.content = machine.stack.pop()
            else:
                _STEPS[opcode.name](machine, argument)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"the pickle is broken: {error!r}"[:200]) from error
    return machine.reading


class _Machine:
    """The state of the stack machine: the stack, the stacks saved at each mark, and the memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.aside: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.reading = Reading()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.aside.append(self.stack)
        self.stack = []

    def take(self) -> list[Any]:
        """Return the items that were pushed since the last mark."""
        items, self.stack = self.stack, self.aside.pop()
        return items

    def make_tuple(self, length: int) -> None:
        items = tuple(self.stack.pop() for _ in range(length))
        self.push(items[::-1])

    def name(self, text: str) -> None:
        kind = text.replace("__builtin__ ", "builtins ").replace(" ", ".")
        self.reading.names[kind] = None
        self.push(Name(kind))

    def make(self, *, called: bool) -> None:
        """Replace a name and its arguments by a record; an ordered dictionary becomes a plain one."""
        args, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, (Name, Record)) or not isinstance(args, tuple):
            raise TypeError("a value that is not a name is called")
        kind = name.kind if isinstance(name, Name) else f"the result of {name.kind[:100]}"
        if kind == "collections.OrderedDict" and not args:
            return self.push({})
        if called:
            self.reading.called[kind] = None
        record = Record(kind, args)
        self.reading.records.append(record)
        self.push(record)

    def build(self) -> None:
        state, owner = self.stack.pop(), self.stack[-1]
        if isinstance(owner, Record):
            owner.state = state
        elif not isinstance(owner, dict):  # attributes of a dictionary, such as a state dict, are ignored
            raise TypeError("a value that is not an object has a state")

    def append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("an item is appended to a value that is not a list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        table = self.stack[-1]
        if not isinstance(table, dict):
            raise TypeError("an item is set in a value that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < _LARGEST_KEY):
                raise TypeError("a key is neither a string nor a small integer")
            table[key] = value


def _push_argument(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


_STEPS: Mapping[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda machine, _: None,
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.stack.pop(),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    **dict.fromkeys(["BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"], _push_argument),
    **dict.fromkeys(["BINUNICODE", "BINSTRING", "SHORT_BINSTRING"], _push_argument),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.make_tuple(1),
    "TUPLE2": lambda machine, _: machine.make_tuple(2),
    "TUPLE3": lambda machine, _: machine.make_tuple(3),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.take())),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.take()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.take()),
    **dict.fromkeys(["BINPUT", "LONG_BINPUT"], lambda machine, place: machine.memo.update({place: machine.stack[-1]})),
    **dict.fromkeys(["BINGET", "LONG_BINGET"], lambda machine, place: machine.push(machine.memo[place])),
    "BINPERSID": lambda machine, _: None,  # the id of a storage, already on the stack, represents the storage
    "GLOBAL": lambda machine, text: machine.name(text),
    "NEWOBJ": lambda machine, _: machine.make(called=False),
    "REDUCE": lambda machine, _: machine.make(called=True),
    "BUILD": lambda machine, _: machine.build(),
}
