"""A pickle reader that executes nothing.

Pickle is a small program. This machine runs the few instructions that build plain containers,
and treats every class and function of the file as a bare name: a name is looked up in a table of
our own or the file is refused. No import, no attribute access, no call of anything the file
names. What the table does with tensors and network snapshots is in `snapshot.py`.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple


class Refused(Exception):
    """The file asks for something that a checkpoint has no need of."""


class Name(NamedTuple):
    """A class or function that the file mentions. It is never looked up."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


@dataclass(slots=True)
class Inert:
    """An object that was described and not built."""

    name: Name
    state: dict[str, Any] = field(default_factory=dict)


class Mark:
    """Where a group of stack entries begins."""


Call = Callable[..., Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LITERALS = _words(
    "BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE BINUNICODE8 "
    "SHORT_BINBYTES BINBYTES BINBYTES8"
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
    "MARK": Mark,
}

_CONTAINERS = _words(
    "PROTO FRAME STOP TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS BINGET LONG_BINGET"
)

PROTOCOL_4 = (
    _LITERALS
    | _CONTAINERS
    | frozenset(_CONSTANTS)
    | _words("MEMOIZE ADDITEMS STACK_GLOBAL REDUCE NEWOBJ BUILD")
)
"""What a protocol-4 file of modules and tensors is made of: no old-style globals, no registry of
extensions, no objects outside the file."""

PROTOCOL_2 = (
    _LITERALS | _CONTAINERS | frozenset(_CONSTANTS) | _words("BINPUT LONG_BINPUT GLOBAL BINPERSID")
)
"""What the header of a stored tensor is made of; nothing in it calls anything."""


class Machine:
    """Runs one pickle.

    Args:
        instructions: names of the allowed opcodes.
        names: classes and functions that may be mentioned.
        calls: what calling a name does; a plain function of our own.
        persistent: what a persistent id stands for; None refuses them.
    """

    def __init__(
        self,
        instructions: frozenset[str],
        names: frozenset[Name],
        calls: Mapping[Name, Call],
        persistent: Call | None = None,
    ) -> None:
        self._instructions = instructions
        self._names = names
        self._calls = calls
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, stream: BinaryIO) -> Any:
        """The object that the pickle at the stream's position describes; stops behind it.

        Raises:
            Refused: it asks for anything unusual, or is damaged.
        """
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name not in self._instructions:
                    raise Refused(f"instruction {opcode.name} has no place in a checkpoint")
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, UnicodeError) as error:
            raise Refused(f"damaged pickle: {error}") from error
        except (MemoryError, OverflowError, RecursionError) as error:
            raise Refused("a size in the pickle is beyond reason") from error
        raise Refused("damaged pickle: it has no end")

    def _step(self, instruction: str, argument: Any) -> None:
        if instruction in _LITERALS:
            self._stack.append(argument)
        elif instruction in _CONSTANTS:
            self._stack.append(_CONSTANTS[instruction]())
        elif instruction in {"PROTO", "FRAME"}:
            pass
        else:
            getattr(self, f"_{instruction.lower()}")(argument)

    def _pop(self) -> Any:
        if not self._stack:
            raise Refused("damaged pickle: it takes from an empty stack")
        return self._stack.pop()

    def _pop_group(self) -> list[Any]:
        """Entries above the last mark, which goes as well."""
        group = []
        while not isinstance(entry := self._pop(), Mark):
            group.append(entry)
        return group[::-1]

    # --- memo -------------------------------------------------------------------------------

    def _memoize(self, _argument: object) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _binput(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    _long_binput = _binput

    def _binget(self, index: int) -> None:
        self._stack.append(self._memo[index])

    _long_binget = _binget

    # --- containers -------------------------------------------------------------------------

    def _tuple(self, _argument: object) -> None:
        self._stack.append(tuple(self._pop_group()))

    def _tuple1(self, _argument: object) -> None:
        self._take_tuple(1)

    def _tuple2(self, _argument: object) -> None:
        self._take_tuple(2)

    def _tuple3(self, _argument: object) -> None:
        self._take_tuple(3)

    def _take_tuple(self, count: int) -> None:
        entries = [self._pop() for _ in range(count)]
        self._stack.append(tuple(entries[::-1]))

    def _append(self, _argument: object) -> None:
        entry = self._pop()
        self._top(list).append(entry)

    def _appends(self, _argument: object) -> None:
        entries = self._pop_group()
        self._top(list).extend(entries)

    def _setitem(self, _argument: object) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _setitems(self, _argument: object) -> None:
        self._set_items(self._pop_group())

    def _set_items(self, entries: list[Any]) -> None:
        target = self._top(dict)
        if len(entries) % 2:
            raise Refused("damaged pickle: a key without a value")
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            if not isinstance(key, str | int):  # nothing else is hashed
                raise Refused(f"a dictionary key is a {type(key).__name__}, not a string")
            target[key] = value

    def _additems(self, _argument: object) -> None:
        entries = self._pop_group()
        if not all(isinstance(entry, str) for entry in entries):
            raise Refused("a set holds something else than strings")
        self._top(set).update(entries)

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise Refused(f"damaged pickle: a {kind.__name__} is missing")
        return self._stack[-1]

    # --- names, and what would be calls -------------------------------------------------------

    def _stack_global(self, _argument: object) -> None:
        attribute, module = self._pop(), self._pop()
        if not isinstance(attribute, str) or not isinstance(module, str):
            raise Refused("a name in the pickle is not text")
        self._mention(Name(module, attribute))

    def _global(self, argument: str) -> None:
        module, _, attribute = argument.partition(" ")
        self._mention(Name(module, attribute))

    def _mention(self, name: Name) -> None:
        if name not in self._names:
            raise Refused(f"it asks for {name}, which no checkpoint needs; nothing was run")
        self._stack.append(name)

    def _reduce(self, _argument: object) -> None:
        arguments, name = self._pop(), self._pop()
        if not isinstance(name, Name) or name not in self._calls:
            raise Refused(f"it calls {_said(name)}, which is no function of a checkpoint")
        if not isinstance(arguments, tuple):
            raise Refused(f"{name} is called without a tuple of arguments")
        self._stack.append(self._calls[name](*arguments))

    def _newobj(self, _argument: object) -> None:
        arguments, name = self._pop(), self._pop()
        if not isinstance(name, Name) or arguments != ():
            raise Refused(f"an object of {_said(name)} is made from arguments")
        is_mapping = name.attribute in {"EasyDict", "OrderedDict"}
        self._stack.append({} if is_mapping else Inert(name))

    def _build(self, _argument: object) -> None:
        state = self._pop()
        target = self._stack[-1] if self._stack else None
        if isinstance(target, Inert):
            target.state = string_keys(state, f"the state of {target.name}")
        elif isinstance(target, NumberType):
            if not isinstance(state, tuple) or state[1:2] not in {("<",), ("|",)}:
                raise Refused("a number type is not little-endian")
        else:
            raise Refused("a state is given to something that has none")

    def _binpersid(self, _argument: object) -> None:
        identity = self._pop()
        if self._persistent is None or not isinstance(identity, tuple):
            raise Refused("it refers to something outside the file")
        self._stack.append(self._persistent(*identity))


def _said(thing: object) -> str:
    """What to call it in a message; never the repr of data that the file made."""
    return str(thing) if isinstance(thing, Name) else f"a {type(thing).__name__}"


class NumberType(NamedTuple):
    """A NumPy number type, as text such as `f8`."""

    code: str


def string_keys(value: Any, what: str) -> dict[str, Any]:
    """`value`, if it is a dictionary with string keys only.

    Raises:
        Refused: it is not.
    """
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise Refused(f"{what} is not a dictionary with names as keys")
    return value
