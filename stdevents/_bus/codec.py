"""One event ⇄ its record: the text in the ring, as `_table.layout` shows it.

What every worker can decode, and nothing else, is encoded: that is checked here, before any lock.
"""

from __future__ import annotations

import json
import os
import re
import sys
from itertools import accumulate

from .._errors import EncodeError
from .._names import check_names, text_of
from .notjson import ARRAYS, MOST_DIGITS, OBJECTS, TOO_MANY_DIGITS, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable

# How deep lists and dicts may be nested. The json module recurses, and a reader that is deep in
# calls itself must be able to decode what its poster could encode.
DEEPEST = 256

STRING = r'"(?:[^"\\]|\\.)*"'  # not compiled: few nest so deep, or have such ints
NO_BRACKETS = rf'{STRING}|[^][{{}}"]+'
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
REMEMBERED = 1024

#: what the encoder raises for data that is not JSON; RecursionError is a RuntimeError
NO_JSON_OF_IT = (ValueError, TypeError, RuntimeError)
#: what the decoder raises for a text that is not JSON, or not all of it
NOT_JSON = (ValueError, StopIteration)

_pid = os.getpid()
_prefixes: dict[tuple[str, str], str] = {}


def _not_json(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON")


def _encoder() -> Callable[[Any, int], Iterable[str]]:
    """The json module's encoder, kept: `JSONEncoder.encode` makes a new one in C each time.

    It returns the pieces of the text. It does not look for circular data, which a shared encoder
    cannot do safely; such data fails as too deep.
    """
    plain = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
    )
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value, _: (plain.encode(_not_too_deep(value)),)
    in_c: Callable[[Any, int], Iterable[str]] = make(
        None, _not_json, json.encoder.encode_basestring, None, ":", ",", False, False, False
    )
    return in_c


def _not_too_deep(data: Any) -> Any:
    """`data`, or RecursionError; checked level by level, for an encoder in Python.

    The encoder would find out by itself, but PyPy aborts where the stack ends within a regular
    expression, as those that quote strings.
    """
    level = [data]
    for _ in range(DEEPEST + 1):
        nested = {id(one): one for one in level if isinstance(one, (*ARRAYS, *OBJECTS))}
        if not nested:
            return data
        level = [
            item
            for one in nested.values()
            for item in (one.values() if isinstance(one, OBJECTS) else one)
        ]
    raise RecursionError


_pieces = _encoder()
_join = "".join


def _loads(text: str, start: int) -> tuple[Any, int]:
    """The one JSON value that a text is, and where it ends: `loads` is PyPy's fast decoder."""
    return json.loads(text[start:]), len(text)


#: `value, end = from_json(text, start)`; NOT_JSON where no JSON is
from_json: Callable[[str, int], tuple[Any, int]]
from_json = _loads
_scanner: Any = vars(json.decoder).get("scanner")
if getattr(_scanner, "c_make_scanner", None):
    from_json = vars(json.JSONDecoder())["scan_once"]


def encode(source: str, event: str, data: Any, unique: str | int | None = None) -> bytes:
    """The record of an event of this process.

    TypeError or ValueError for a bad name, EncodeError for bad data.
    """
    try:
        prefix = _prefixes[source, event]
    except (KeyError, TypeError):
        prefix = _new_prefix(source, event)
    end = "]," if unique is None else f",{to_json(key_of(unique))}],"
    try:
        record = f"{prefix}{_join(_pieces(data, 0))}{end}".encode()
    except NO_JSON_OF_IT as error:
        raise EncodeError(_why(source, event, data, unique, error)) from error
    if len(record) > 2 * DEEPEST:
        fault = _unreadable(record)
        if fault:
            raise EncodeError(f"event {event!r} of source {source!r}: data {fault}")
    return record


def _unreadable(record: bytes) -> str:
    """What in it this process can write, and others may not be able to read; "" for nothing."""
    if depth(record) > DEEPEST + 1:
        return f"is nested deeper than {DEEPEST} levels; make it flatter"
    if len(record) > MOST_DIGITS and _has_longer_int(record):
        return TOO_MANY_DIGITS
    return ""


def _has_longer_int(record: bytes) -> bool:
    """Has it an int of more than MOST_DIGITS?"""
    if 0 < getattr(sys, "get_int_max_str_digits", int)() <= MOST_DIGITS:
        return False  # the encoder would have refused it
    numbers = re.sub(STRING, "", record.decode())
    return re.search(f"[0-9]{{{MOST_DIGITS + 1}}}", numbers) is not None


def _why(source: str, event: str, data: Any, unique: str | int | None, error: Exception) -> str:
    """The message for an event that the encoder has refused by this error."""
    try:
        what = explain(source, event, unique, data, DEEPEST)
    except NO_JSON_OF_IT:  # the data's own code, which failed before, fails once more
        what = None
    what = what or f"data cannot be written as JSON: {error}"
    return f"event {event!r} of source {source!r}: {what}"


def data_text(source: str, event: str, data: Any) -> str:
    """The JSON of data alone, as it stands in the record of such an event; what `encode` raises."""
    record = encode(source, event, data)
    return record[len(_new_prefix(source, event).encode()) : -2].decode()


def listed(events: Any) -> list[Any]:
    """What a `post_many` is given, which may be had only once."""
    try:
        each = iter(events)
    except TypeError:
        raise TypeError(
            f"events: {type(events).__name__}, where an iterable of (source, event, data) is wanted"
        ) from None
    return list(each)


def encode_one(index: int, one: Any) -> bytes:
    """The record of one event of a `post_many`; errors say which one it is."""
    if not isinstance(one, (tuple, list)) or len(one) not in (3, 4):
        shape = f"{len(one)} items" if isinstance(one, (tuple, list)) else type(one).__name__
        raise TypeError(
            f"events[{index}]: {shape}, where (source, event, data) is wanted, "
            "or (source, event, data, unique)"
        )
    try:
        return encode(*one)
    except (TypeError, ValueError) as error:
        kind = next(one for one in (EncodeError, TypeError, ValueError) if isinstance(error, one))
        raise kind(f"events[{index}]: {error}") from error.__cause__


def to_json(name: str) -> str:
    """The JSON of a str, as it stands in records."""
    return _join(_pieces(name, 0))


def _new_prefix(source: str, event: str) -> str:
    """The text before the data; the names are checked once."""
    prefixes = _prefixes  # of the process of `_pid`: a signal handler may fork in here
    source, event = check_names(source, event)
    prefix = f"[{_pid},{to_json(source)},{to_json(event)},"
    if len(prefixes) >= REMEMBERED:  # names may be made up without end
        prefixes.clear()
    prefixes[source, event] = prefix
    return prefix


def forget() -> None:
    """Write the pid of the process that calls it from now on: it may be a fork."""
    global _pid, _prefixes
    _pid, _prefixes = os.getpid(), {}


def decode(record: bytes) -> list[Any]:
    """The parts of a record, with its comma or without: 4, 5 or 7, each of its type.

    ValueError if it is none; RecursionError where the stack is too short for what `encode` accepts.
    """
    try:
        text = (record[:-1] if record.endswith(b",") else record).decode()
        parts, end = from_json(text, 0)
    except RecursionError as error:
        if depth(record) <= DEEPEST + 1:
            raise
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from error
    except StopIteration as error:
        raise ValueError("it is no JSON") from error
    if end != len(text):
        raise ValueError("it is more than one JSON value")
    if not is_event(parts):
        raise ValueError("it is no event")
    return list(parts)


def is_event(parts: Any) -> bool:
    """Has it the shape of a record? Types only, not what a name may be."""
    if not isinstance(parts, list) or len(parts) not in (4, 5, 7):
        return False
    pid, source, event, _, *more = parts
    if not (type(pid) is int and isinstance(source, str) and isinstance(event, str)):
        return False
    if len(more) == 3 and more[0] is None:  # relayed, without a key
        more = more[1:]
    # A loop, and no generator: where there is no memory for its function, MAKE_FUNCTION of CPython
    # 3.12 and 3.13 frees its code, and the next use of that crashes.
    for one in more:  # noqa: SIM110
        if not isinstance(one, str):
            return False
    return True


def key_of(unique: Any) -> str:
    """The key that `unique` stands for; an int is the same key as its decimal digits."""
    if isinstance(unique, bool) or not isinstance(unique, (str, int)):
        raise TypeError(f"unique: {unique!r} is neither a str nor an int")
    try:
        key = text_of(unique) if isinstance(unique, str) else int.__repr__(unique)
    except ValueError as error:  # more digits than Python writes
        raise ValueError(f"unique: {error}") from None
    if not key:
        raise ValueError("unique: it is empty; give it a name, or leave it out")
    return key


def _has_few(bracket: bytes, record: bytes) -> bool:
    """Are there so few of them that they cannot be nested too deep, even with as many others?"""
    found = -1
    for _ in range(DEEPEST // 2):  # `count` is slower where there are few, and all is text
        found = record.find(bracket, found + 1)
        if found < 0:
            return True
    return False


def depth(record: bytes) -> int:
    """How deep lists and dicts are nested in it; 0 if they cannot be deeper than DEEPEST."""
    if _has_few(b"[", record) and _has_few(b"{", record):
        return 0
    text = re.sub(NO_BRACKETS, "", record.decode())
    return max(accumulate(_STEP.get(character, 0) for character in text), default=0)
