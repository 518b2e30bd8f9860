"""What can be a handler: anything that takes four arguments, and is done when it returns."""

from __future__ import annotations

import functools
from types import CodeType, MethodType

from .._names import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Of inspect, without the cost of importing it.
CO_VARARGS, CO_VARKEYWORDS, CO_COROUTINE, CO_GENERATORS = 0x04, 0x08, 0x80, 0x20 | 0x200
CALLED_WITH = "data", "event", "source", "pid"
#: stands in a partial for an argument of the call, from Python 3.14 on; before, in none
PLACEHOLDER: object = getattr(functools, "Placeholder", object())


def check(callback: Any) -> None:
    """TypeError unless it can be a handler of a bus that awaits nothing."""
    check_callable(callback)
    if is_coroutine_function(callback):
        raise TypeError(
            f"{callback!r} is a coroutine function, which would never be awaited; "
            f"register it with an AsyncBus of {PACKAGE}.aio, or register a plain function"
        )


def check_callable(callback: Any) -> None:
    """TypeError unless it can be called with data, event, source and pid."""
    if not callable(callback):
        raise TypeError(
            f"{callback!r} is not callable; a handler is callback({', '.join(CALLED_WITH)})"
        )
    function, before, named = _unwrapped(callback)
    code = _code_of(function)
    if code is None or isinstance(function, type):  # written in C, or a class: it tells nothing
        return
    takes = _what_else_it_takes(function, code, before, named)
    if takes is not None:
        raise TypeError(
            f"{callback!r} takes ({takes}), and a handler is called with "
            f"({', '.join(CALLED_WITH)}), all by their place"
        )
    by_name = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    unknown = named - {*by_name}
    if unknown and not code.co_flags & CO_VARKEYWORDS:
        raise TypeError(
            f"{callback!r} is given {', '.join(sorted(unknown))} by name, which its function does "
            "not take; correct the partial"
        )
    if code.co_flags & CO_GENERATORS:
        raise TypeError(
            f"{callback!r} has a yield in it, so that to call it runs nothing of it; "
            "register a function without one"
        )


def is_coroutine_function(callback: Any) -> bool:
    """Does calling it only make a coroutine? Also where partial or `__call__` hide that."""
    code = _code_of(_unwrapped(callback)[0])
    return code is not None and bool(code.co_flags & CO_COROUTINE)


def _code_of(function: Any) -> CodeType | None:
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None  # an object may have any attribute


def _unwrapped(callback: Any) -> tuple[Any, int, set[str]]:
    """The function behind it, how many arguments it is called with in front, and which by name."""
    before, named = 0, set()
    # As many times as anybody nests them: an object may show another one at each look.
    for _ in range(16):
        if isinstance(callback, functools.partial):
            before += sum([one is not PLACEHOLDER for one in callback.args])
            named |= set(callback.keywords)
            callback = callback.func
        elif isinstance(callback, (MethodType, staticmethod, classmethod)):
            before += not isinstance(callback, staticmethod)
            callback = callback.__func__
        elif isinstance(callback, type) or _code_of(callback):
            break
        else:
            # Not by getattr: that tells no static method from one that is given its object.
            held = [vars(one).get("__call__") for one in type(callback).__mro__]
            called: Any = next(filter(None, held), None)
            if _code_of(called):
                before += 1
            elif not isinstance(called, (staticmethod, classmethod)):  # of C: it tells nothing
                break
            callback = called
    return callback, before, named


def _what_else_it_takes(function: Any, code: CodeType, before: int, named: set[str]) -> str | None:
    """The arguments that it takes, if it cannot take those of a handler; None if it can."""
    count, only = code.co_argcount, code.co_kwonlyargcount
    names = code.co_varnames[:count]
    by_name = code.co_varnames[count : count + only]
    given = before + len(CALLED_WITH)
    optional = names[count - len(function.__defaults__ or ()) :]
    missing = {*names[given:]} - {*optional} - named
    missing |= {*by_name} - {*(function.__kwdefaults__ or ())} - named
    takes_more = code.co_flags & CO_VARARGS
    if (given <= count or takes_more) and not missing and not named & {*names[:given]}:
        return None
    shown = [*names[before:], *(["*"] if by_name and not takes_more else []), *by_name]
    return ", ".join(one for one in shown if one not in named)
