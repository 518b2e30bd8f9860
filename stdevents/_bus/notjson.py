"""Why some data is not JSON: where in it, and what."""

from __future__ import annotations

import builtins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: what the json module writes as an object, and as an array; from 3.15 on there is a frozendict
OBJECTS: tuple[type[dict[Any, Any]], ...] = (dict, vars(builtins).get("frozendict", dict))
ARRAYS = (list, tuple)


MOST_DIGITS = 4300  # of an int that Python reads, if it is not told otherwise
TOO_MANY_DIGITS = (
    f"has an int of more than {MOST_DIGITS} digits, which not every worker reads; make it a str"
)


def explain(source: str, event: str, unique: Any, data: Any, deepest: int) -> str | None:
    """What of an event could not be written as JSON, and why; None where that is not seen."""
    for what, value in (("source", source), ("event", event), ("unique", unique), ("data", data)):
        found = fault_in(value, deepest)
        if found is not None:
            return f"{what}{found[0]} {found[1]}"
    return None


def fault_in(data: Any, deepest: int) -> tuple[str, str] | None:
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
        if fault is None and len(open_ids) > deepest:
            return "", f"is nested deeper than {deepest} levels; make it flatter"
        if fault is not None:
            return path, fault
        if isinstance(value, (*ARRAYS, *OBJECTS)):
            open_ids.add(id(value))
            stack.append((path, value, True))
            pairs = value.items() if isinstance(value, OBJECTS) else enumerate(value)
            for key, item in reversed(list(pairs)):
                stack.append((f"{path}[{_shown(key)}]", item, False))
    return None


def _shown(key: Any) -> str:
    # Keys are names, mostly; one that is not is payload, and may be long.
    if isinstance(key, int) and has_too_many_digits(key):
        return "…"
    return ascii(key) if len(ascii(key)) <= 40 else f"{ascii(key)[:40]}…"


def _own_fault(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, int):
        return TOO_MANY_DIGITS if has_too_many_digits(value) else None
    if isinstance(value, float):
        return None if is_finite(value) else f"is {value!r}, which JSON does not have"
    if isinstance(value, str):
        return None if is_text(value) else "has a lone surrogate, which is not text"
    if isinstance(value, OBJECTS):
        for key in list(value):  # at once: another thread may be changing it
            if not (key is None or isinstance(key, (str, int, float))):
                return f"has a key of type {type(key).__name__}; JSON has strings"
            if isinstance(key, str) and not is_text(key):
                return "has a key with a lone surrogate, which is not text"
            if isinstance(key, int) and has_too_many_digits(key):
                return TOO_MANY_DIGITS
            if isinstance(key, float) and not is_finite(key):
                return f"has the key {key!r}, which JSON does not have"
        return None
    if isinstance(value, ARRAYS):
        return None
    return f"is of type {type(value).__name__}, which JSON does not have"


def has_too_many_digits(value: int) -> bool:
    """Has it more than MOST_DIGITS?"""
    return value.bit_length() > 3 * MOST_DIGITS and abs(value) >= 10**MOST_DIGITS


def is_finite(value: float) -> bool:
    """Is it neither infinite nor NaN? The difference of those with themselves is NaN."""
    return value - value == 0


def is_text(value: str) -> bool:
    """Has it no lone surrogates, so that it can be written as UTF-8?"""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
