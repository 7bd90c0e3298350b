"""What a pickle says, read without doing any of it.

A pickle is a program for a small machine with a stack, which names functions of Python and calls them. Here a name
stays a ``Name`` and what is made by a call a ``Record``: nothing is imported, looked up or called, whatever the pickle
is. Of the machine there is as much as torch.save makes use of (protocol 2, https://docs.python.org/3/library/pickletools.html),
and what a pickle costs is bounded: its length, its steps, and the keys of its dictionaries, of which some pickles make
ones that take for ever to hash.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# A checkpoint of yolov9e with the state of its optimizer has 1.5 MB and 440,000 steps.
LONGEST = 8_000_000
MOST_STEPS = 1_000_000
# A larger key may be one of many that share a place in a dictionary.
_LARGEST_KEY = 2**31


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a class or a function, with its module."""

    kind: str


@dataclass(eq=False, slots=True)
class Record:
    """What a pickle says of one object.

    Attributes:
        kind: The name of its class, or of the function that returns it.
        args: What that is called with.
        state: Its attributes, as a rule.
    """

    kind: str
    args: tuple[Any, ...]
    state: Any = None


@dataclass
class Reading:
    """What a whole pickle says.

    Attributes:
        content: Of dictionaries, lists, records and so on.
        names: Every name in it, in their order.
        called: The names of what it calls, which makes more than an empty instance.
        records: Every record in it.
    """

    content: Any = None
    names: dict[str, None] = field(default_factory=dict)
    called: dict[str, None] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)


def parse_pickle(content: bytes) -> Reading:
    """Read a pickle.

    Raises:
        ValueError: It is too long, broken, or makes use of what torch.save does not.
    """
    if len(content) > LONGEST:
        raise ValueError(f"a pickle of {len(content)} bytes")
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if number >= MOST_STEPS:
                raise ValueError("a pickle of too many steps")
            if opcode.name == "STOP":
                machine.reading.content = machine.stack.pop()
            else:
                _STEPS[opcode.name](machine, argument)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"a broken pickle: {error!r}"[:200]) from error
    return machine.reading


class _Machine:
    """The stack, those put aside at each mark, and the memo."""

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
        """Return what was pushed since the last mark."""
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
        """Replace a name and arguments by a record; an ordered dictionary is a dictionary like any other."""
        args, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, (Name, Record)) or not isinstance(args, tuple):
            raise TypeError("something is called that has no name")
        kind = name.kind if isinstance(name, Name) else f"what {name.kind[:100]} returns"
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
        elif not isinstance(owner, dict):  # whose attributes, as those of a state_dict, are of no interest
            raise TypeError("something has a state that is no object")

    def append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise TypeError("something is appended to what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        table = self.stack[-1]
        if not isinstance(table, dict):
            raise TypeError("something is set in what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < _LARGEST_KEY):
                raise TypeError("a key is neither a text nor a small number")
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
    "BINPERSID": lambda machine, _: None,  # the number of a storage, which lies on the stack, stands for it
    "GLOBAL": lambda machine, text: machine.name(text),
    "NEWOBJ": lambda machine, _: machine.make(called=False),
    "REDUCE": lambda machine, _: machine.make(called=True),
    "BUILD": lambda machine, _: machine.build(),
}
