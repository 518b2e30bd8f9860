"""One event ⇄ bytes: a JSON array in UTF-8, `[source, event, data]` or with `unique` as a fourth.

An event that a relay brought has null where there is no `unique`, and two more: the host that it
comes from, and its id in the stream.

All is checked here, before any lock: what was encoded can be decoded by every other worker.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate

from .._errors import EncodeError
from .._names import check_names
from .._table.layout import FLAG_RELAYED, FLAG_UNIQUE, NAMES_SHIFT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable

# How deep lists and dicts may be nested. The json module recurses, and a reader that is deep in
# calls itself must be able to decode what its poster could encode.
DEEPEST = 256

NO_BRACKETS = r'"(?:[^"\\]|\\.)*"|[^][{}"]+'  # not compiled: few nest so deep
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
REMEMBERED = 1024

_prefixes: dict[tuple[str, str], tuple[str, int]] = {}


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
        nested = {id(one): one for one in level if isinstance(one, (list, tuple, dict))}
        if not nested:
            return data
        level = [
            item
            for one in nested.values()
            for item in (one.values() if isinstance(one, dict) else one)
        ]
    raise RecursionError


_pieces = _encoder()
_from_json = json.JSONDecoder().raw_decode
#: `value, end = from_json(text, start)`; StopIteration or ValueError where no JSON is
from_json: Callable[[str, int], tuple[Any, int]]
from_json = getattr(json.JSONDecoder(), "scan_once", _from_json)


def encode(source: str, event: str, data: Any, unique: str | int | None) -> tuple[bytes, int]:
    """The event as bytes, and its flags.

    TypeError or ValueError for a bad name, EncodeError for bad data.
    """
    try:
        prefix, flags = _prefixes[source, event]
    except (KeyError, TypeError):
        prefix, flags = _new_prefix(source, event)
    end = "]"
    if unique is not None:
        end = f",{_to_json(key_of(unique))}]"
        flags |= FLAG_UNIQUE
    try:
        payload = f"{prefix}{''.join(_pieces(data, 0))}{end}".encode()
    except (ValueError, RecursionError, RuntimeError, TypeError) as error:
        raise EncodeError(_explain(source, event, unique, data, error)) from error
    if len(payload) > 2 * DEEPEST and _depth(payload.decode()) > DEEPEST + 1:
        raise EncodeError(
            f"event {event!r} of source {source!r}: data is nested deeper than {DEEPEST} levels; "
            "make it flatter"
        )
    return payload, flags


def _to_json(name: str) -> str:
    return "".join(_pieces(name, 0))


def _new_prefix(source: str, event: str) -> tuple[str, int]:
    """The text before the data, and the flags with its length; the names are checked once."""
    check_names(source, event)
    prefix = f"[{_to_json(source)},{_to_json(event)},"
    if not _is_text(prefix):
        return prefix, 0
    if len(_prefixes) >= REMEMBERED:  # names may be made up without end
        _prefixes.clear()
    found = _prefixes[source, event] = prefix, len(prefix.encode()) << NAMES_SHIFT
    return found


def data_at(source: str, event: str, payload: bytes, flags: int) -> int:
    """Where in the payload's text the data begins; 0 unless it is an event as `encode` makes it.

    Only then do its first bytes, as many as the flags say, stand for this source and event.
    """
    if not flags >> NAMES_SHIFT:
        return 0
    prefix, length = _new_prefix(source, event)
    as_encoded = payload[: flags >> NAMES_SHIFT] == prefix.encode(errors="replace")
    return len(prefix) if as_encoded and length else 0


def relayed(payload: bytes, flags: int, host: str, entry: str) -> tuple[bytes, int]:
    """An encoded event with its origin added."""
    origin = f'{"" if flags & FLAG_UNIQUE else ",null"},{_to_json(host)},"{entry}"]'
    return payload[:-1] + origin.encode(), flags | FLAG_RELAYED


def decode(payload: bytes) -> list[Any]:
    """The parts of an event, 3, 4 or 6 of them; ValueError if it is not JSON."""
    parts: list[Any] = _from_json(payload.decode())[0]
    return parts


def key_of(unique: Any) -> str:
    """The key that `unique` stands for; an int is the same key as its decimal digits."""
    if isinstance(unique, bool) or not isinstance(unique, (str, int)):
        raise TypeError(f"unique: {unique!r} is neither a str nor an int")
    if unique == "":
        raise ValueError("unique: it is empty; give it a name, or leave it out")
    try:
        return str(unique)
    except ValueError as error:  # more digits than Python writes
        raise ValueError(f"unique: {error}") from None


def _depth(text: str) -> int:
    """How deep lists and dicts are nested in it; 0 if they cannot be deeper than DEEPEST."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return 0
    return max(accumulate(map(_STEP.__getitem__, re.sub(NO_BRACKETS, "", text))))


def _explain(source: str, event: str, unique: Any, data: Any, error: Exception) -> str:
    for what, value in (("source", source), ("event", event), ("unique", unique), ("data", data)):
        found = _fault(value)
        if found is not None:
            return f"event {event!r} of source {source!r}: {what}{found[0]} {found[1]}"
    return f"event {event!r} of source {source!r}: data cannot be written as JSON: {error}"


def _fault(data: Any) -> tuple[str, str] | None:
    """Where in `data` is something that is not JSON, and what; never its value."""
    # Not recursive, since too deep is one of the faults.
    open_ids: set[int] = set()
    stack: list[tuple[str, Any, bool]] = [("", data, False)]
    while stack:
        path, value, done = stack.pop()
        if done:
            open_ids.discard(id(value))
            continue
        fault = _own_fault(value)
        if fault is None and id(value) in open_ids:
            fault = "contains itself"
        if fault is None and len(open_ids) > DEEPEST:
            return "", f"is nested deeper than {DEEPEST} levels; make it flatter"
        if fault is not None:
            return path, fault
        if isinstance(value, (list, tuple, dict)):
            open_ids.add(id(value))
            stack.append((path, value, True))
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in reversed(list(pairs)):
                stack.append((f"{path}[{_shown(key)}]", item, False))
    return None


def _shown(key: Any) -> str:
    # Keys are names, mostly; one that is not is payload, and may be long.
    return ascii(key) if len(ascii(key)) <= 40 else f"{ascii(key)[:40]}…"


def _own_fault(value: Any) -> str | None:
    if value is None or isinstance(value, (bool, int)):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value!r}, which JSON does not have"
    if isinstance(value, str):
        return None if _is_text(value) else "has a lone surrogate, which is not text"
    if isinstance(value, dict):
        for key in value:
            if not (key is None or isinstance(key, (str, int, float))):
                return f"has a key of type {type(key).__name__}; JSON has strings"
            if isinstance(key, str) and not _is_text(key):
                return "has a key with a lone surrogate, which is not text"
            if isinstance(key, float) and not math.isfinite(key):
                return f"has the key {key!r}, which JSON does not have"
        return None
    if isinstance(value, (list, tuple)):
        return None
    return f"is of type {type(value).__name__}, which JSON does not have"


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
