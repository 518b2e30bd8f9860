"""Who is called for an event, and in which order; no shared memory, no JSON.

A callback is registered at a level: every event, one source, or one event of one source. The
levels are called in that order; within a level the weakly held come before the strongly held,
each in order of registration. At one level a callback stands once; held both ways, it is held
strongly.
"""

from __future__ import annotations

import threading
import weakref
from types import BuiltinMethodType, MethodType

from .._log import logger
from .._names import PACKAGE, check_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Optional, Tuple, TypeVar

    from .._types import Handler

    Level = Tuple[Optional[str], Optional[str]]
    # One of the two is there: the callback, or what it is held by weakly.
    Entry = Tuple[Optional[Handler], Optional["weakref.ref[Any]"]]
    Callbacks = Tuple[Entry, ...]
    Known = Tuple[str, str, int, Callbacks]
    K = TypeVar("K")
    V = TypeVar("V")

EVERY: Level = (None, None)
REMEMBERED = 1024  # pairs of source and event
CO_COROUTINE = 0x80  # inspect.CO_COROUTINE, without the cost of importing inspect


def levels(source: str | None, names: tuple[str, ...]) -> list[Level]:
    """The levels that `register` and `unregister` are called with."""
    if source is None:
        if names:
            raise ValueError(f"source: events {names!r} are given without their source")
        return [EVERY]
    for event in names or ("every",):
        check_names(source, event)
    return [(source, event) for event in names] or [(source, None)]


def decorator(
    register: Callable[..., Any], source: str | None, events: tuple[str, ...]
) -> Callable[[Any], Any]:
    """What `on` returns; a bad source or event raises here already."""
    if callable(source):
        raise TypeError(
            f"on: {source!r} stands where the source belongs; write @on() for every event, "
            "@on(source) or @on(source, event) for some"
        )
    levels(source, events)
    return lambda callback: register(callback, source, *events)


class Handlers:
    """The callbacks of one bus in one process. Every method may be called by any thread."""

    def __init__(self) -> None:
        # Tuples that are replaced, never changed: a thread that dispatches, and a forked child, has
        # a whole one at any instant.
        self._weak: dict[Level, tuple[weakref.ref[Any], ...]] = {}
        self._strong: dict[Level, tuple[Handler, ...]] = {}
        #: callbacks that were found for a source and event
        self.found: dict[tuple[str, str], Callbacks] = {}
        #: by the first bytes of a payload: source, event, where its data begins, and callbacks
        self.known: dict[bytes, Known] = {}
        self.forked()

    def forked(self) -> None:
        """Start again in a forked child: what its parent was dispatching is not the child's."""
        self._changing = threading.RLock()  # a finaliser may unregister during a register
        self._process = object()
        self.failed = 0

    def add(self, callback: Handler, levels: list[Level], weak: bool) -> None:
        _check(callback)
        reference = _reference(callback) if weak else None
        with self._changing:
            for level in levels:
                if any(_same(known, callback) for known in self._strong.get(level, ())):
                    continue
                if reference is None:
                    self._drop(self._weak, level, callback)
                    self._strong[level] = (*self._strong.get(level, ()), callback)
                elif not any(_same(known(), callback) for known in self._weak.get(level, ())):
                    live = (known for known in self._weak.get(level, ()) if known() is not None)
                    self._weak[level] = (*live, reference)
            self._forget()

    def remove(self, callback: Handler, levels: list[Level]) -> bool:
        with self._changing:
            removed = [
                self._drop(held, level, callback)
                for level in levels
                for held in (self._weak, self._strong)
            ]
            self._forget()
        return any(removed)

    def _forget(self) -> None:
        self.found, self.known = {}, {}

    def find(self, source: str, event: str) -> Callbacks:
        """The callbacks for this event, in order; weakly held ones may be gone when called."""
        found = self.found
        entries: Callbacks | None = found.get((source, event))
        if entries is None:
            entries = tuple(
                entry
                for level in (EVERY, (source, None), (source, event))
                for entry in (
                    *((None, reference) for reference in self._weak.get(level, ())),
                    *((callback, None) for callback in self._strong.get(level, ())),
                )
            )
            self.remember(found, (source, event), entries)
        return entries

    @staticmethod
    def remember(found: dict[K, V], key: K, value: V) -> None:
        """Store it in `found`, one of the dicts above, as it was read before the lookup.

        A registration since then has replaced that dict, so no stale answer stays.
        """
        if len(found) >= REMEMBERED:  # event names may be made up without end
            found.clear()
        found[key] = value

    @staticmethod
    def living(entries: Callbacks) -> Callbacks:
        """The callbacks that are alive, now held strongly."""
        held = (callback if reference is None else reference() for callback, reference in entries)
        return tuple((callback, None) for callback in held if callback is not None)

    def dispatch(
        self, entries: Callbacks, data: Any, event: str, source: str, pid: int | None
    ) -> None:
        """Call them; an exception of one does not keep the others from being called.

        A child that one of them forks does not go on: the event is its parent's.
        """
        process = self._process
        for callback, reference in entries:
            if reference is not None:
                callback = reference()
            if callback is None:
                continue
            try:
                callback(data, event, source, pid)
            except Exception as error:
                self.tell_failure(error, source, event, pid)
            callback = None  # this frame must not keep it alive
            if self._process is not process:
                return

    def tell_failure(self, error: Exception, source: str, event: str, pid: int | None) -> None:
        """Count and log an exception of a callback, without the payload."""
        self.failed += 1
        what = "event callback failed; source=%s, event=%s, pid=%s"
        logger().error(what, source, event, pid, exc_info=error)

    @staticmethod
    def _drop(held: dict[Level, Any], level: Level, callback: Handler) -> bool:
        known = held.get(level, ())
        left = tuple(
            entry
            for entry in known
            if not _same(entry() if isinstance(entry, weakref.ref) else entry, callback)
        )
        if left:
            held[level] = left
        else:
            held.pop(level, None)
        return len(left) < len(known)


def is_coroutine_function(function: Any) -> bool:
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & CO_COROUTINE)


def check_callable(callback: Any) -> None:
    if not callable(callback):
        raise TypeError(
            f"{callback!r} is not callable; a handler is callback(data, event, source, pid)"
        )


def _check(callback: Any) -> None:
    check_callable(callback)
    if is_coroutine_function(callback):
        raise TypeError(
            f"{callback!r} is a coroutine function, which would never be awaited; "
            f"register it with an AsyncBus of {PACKAGE}.aio, or register a plain function"
        )


def _reference(callback: Handler) -> weakref.ref[Any]:
    try:
        if isinstance(callback, MethodType):
            return weakref.WeakMethod(callback)
        return weakref.ref(callback)
    except TypeError as error:
        raise TypeError(
            f"register_weak: {callback!r} cannot be held weakly; register it, or pass a function"
        ) from error


def _same(known: Handler | None, callback: Handler) -> bool:
    # Each access makes a new bound method; anything else has to be the same, not just equal.
    if isinstance(callback, (MethodType, BuiltinMethodType)):
        return known == callback
    return known is callback
