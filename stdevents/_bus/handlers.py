"""Who is called for an event, and in which order; no shared memory, no JSON.

A callback is registered at a level: every event, one source, or one event of one source. The
levels are called in that order; within a level the weakly held come before the strongly held,
each in order of registration. At one level a callback stands once; held both ways, it is held
strongly.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Coroutine
from functools import partial
from types import BuiltinMethodType, MethodType

from .._log import DEBUG, report
from .._names import OF_THE_BUS, PACKAGE, check_events, check_text
from .callbacks import check
from .tasks import Tasks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Sequence, Tuple

    from .._protocols import Handler
    from .asking import Question

    Level = Tuple[Optional[str], Optional[str]]
    # By source, and then by event: what is called, None if nothing is.
    Found = Dict[str, Dict[str, Optional[Handler]]]

EVERY: Level = (None, None)
REMEMBERED = 1024  # pairs of source and event


def levels(source: str | None, names: tuple[str, ...]) -> list[Level]:
    """The levels that `register` and `unregister` are called with."""
    if source is None:
        if names:
            raise ValueError(f"source: events {names!r} are given without their source")
        return [EVERY]
    source, events = check_text("source", source), check_events(source, names)
    return [(source, event) for event in events] or [(source, None)]


def needs_no_handler(data: Any, event: str, source: str, pid: int | None, /) -> None:
    """Called for the bus's own events where nobody wants them, so that they count as handled."""


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

    #: found in the place of a callback where each event is looked at before it is taken
    looked_at: Any = object()

    def __init__(self) -> None:
        # Those of a level, the weakly held first. Tuples that are replaced, never changed: a thread
        # that dispatches, and a forked child, has a whole one at any instant.
        self._held: dict[Level, tuple[Any, ...]] = {}
        # Where weak references among those have died. Noted by finalisers, which run anywhere: they
        # can neither wait for a lock nor change what is held.
        self._dead_at: set[Level] = set()
        #: what was found so far. A registration replaces it, so no stale answer stays.
        self.found: Found = {}
        self._left = REMEMBERED  # before those are forgotten
        #: what the package does at an event, by source and event: `own(callback)` is called for it
        self.own: dict[tuple[str, str], Callable[[Handler | None], Handler]] = {}
        #: of what is often for other processes alone: is one with this data for this one?
        self.concerns: dict[tuple[str, str], Callable[[Any], bool]] = {}
        #: what they have begun, and go on with
        self.tasks = Tasks()
        self.forked()

    def forked(self) -> None:
        """Start again in a forked child: what its parent was dispatching is not the child's."""
        #: of who registers or unregisters; a finaliser may do so during that
        self.changing = threading.RLock()
        #: changes that were made during the one that is being made, if one is
        self._others_made: list[Callable[[], bool]] | None = None
        #: another object in a forked child
        self.process = object()
        self.tasks.forget()
        #: what is asked, by number; each `take`s its answers
        self.questions: dict[int, Question] = {}
        self.failed = 0

    def add(self, callback: Handler, levels: list[Level], weak: bool) -> None:
        check(callback)
        reference = _reference(callback, partial(self._note_death, levels)) if weak else None
        self._remove_dead()

        def change() -> bool:
            for level in levels:
                held, others = self._held.get(level, ()), self._others(level, callback)
                if reference is not None and len(others) == len(held):
                    count = sum(isinstance(one, weakref.ref) for one in held)
                    self._held[level] = (*held[:count], reference, *held[count:])
                elif reference is None and not any(same(one, callback) for one in held):
                    self._held[level] = (*others, callback)
            return True

        self._change(change)

    def remove(self, callback: Handler, levels: list[Level]) -> bool:
        def change() -> bool:
            removed = False
            for level in levels:
                others = self._others(level, callback)
                if len(others) < len(self._held.get(level, ())):
                    removed = True
                    self._held[level] = others
                    if not others:
                        self._held.pop(level, None)
            return removed

        return self._change(change)

    def _change(self, change: Callable[[], bool]) -> bool:
        """Make a change of what is held; what it tells.

        Finalisers and signal handlers may make others during that, which it undoes by what it had
        read before: so they are made once more, after it.
        """
        with self.changing:
            try:
                if self._others_made is None:
                    return self._change_first(change)
                self._others_made.append(change)
                return change()
            finally:
                self.found = {}

    def _change_first(self, change: Callable[[], bool]) -> bool:
        others: list[Callable[[], bool]] = []
        try:
            self._others_made = others
            try:
                return change()
            finally:
                for other in others:  # and those that come during this
                    other()
        finally:
            self._others_made = None

    def _note_death(self, levels: list[Level], _: object) -> None:
        """For a weak reference: what it was of is no more."""
        self._dead_at.update(levels)
        self.found = {}

    def _remove_dead(self) -> None:
        if self._dead_at:
            self._change(self._change_dead)

    def _change_dead(self) -> bool:
        with contextlib.suppress(KeyError):  # there are none, or no more
            while True:
                level = self._dead_at.pop()
                alive = tuple(
                    [one for one in self._held.get(level, ()) if _callback(one) is not None]
                )
                if alive:
                    self._held[level] = alive
                else:
                    self._held.pop(level, None)
        return True

    def find(self, source: str, event: str) -> Handler | None:
        """What to call for this event: the one callback, or all of them as one; None for none."""
        found = self.found  # first: what dies from here on has another one begun
        try:
            callback = found[source][event]
            if callback is not self.looked_at:
                return callback
        except KeyError:
            pass
        self._remove_dead()
        held: list[Any] = [
            one
            for level in (EVERY, (source, None), (source, event))
            for one in self._held.get(level, ())
        ]
        if len(held) == 1 and not isinstance(held[0], weakref.ref):
            callback = held[0]
        else:
            callback = Several(self, held) if held else None
        if callback is None and source == OF_THE_BUS:  # no misspelt name
            callback = needs_no_handler
        own = self.own.get((source, event))
        if own is not None:
            callback = own(callback)
        self._left -= 1
        if self._left < 0:  # names may be made up without end
            found.clear()
            self._left = REMEMBERED
        one_by_one = (source, event) in self.concerns
        found.setdefault(source, {})[event] = self.looked_at if one_by_one else callback
        return callback

    @staticmethod
    def living(callback: Handler | None) -> Handler | None:
        """The callback with all that it calls held strongly; None if none of that is alive."""
        return callback.living() if isinstance(callback, Several) else callback

    def is_for_others(self, source: str, event: str, data: Any) -> bool:
        """Is such an event none of this process's, by its data?"""
        concerns = self.concerns.get((source, event))
        if concerns is None or concerns(data):
            return False
        self.found.setdefault(source, {})[event] = self.looked_at
        return True

    def call(self, callback: Handler, data: Any, event: str, source: str, pid: int | None) -> None:
        """Call it; an exception is counted and logged, without the payload."""
        try:
            result = callback(data, event, source, pid)
            if result is not None:
                self.refuse(result)
        except Exception as error:
            self.tell_failure(error, source, event, pid)

    @staticmethod
    def refuse(result: object) -> None:
        """TypeError for a coroutine that a callback returned, which nobody would await."""
        if isinstance(result, Coroutine):
            result.close()
            raise TypeError(
                "the callback returned a coroutine, which is never awaited; register it with an "
                f"AsyncBus of {PACKAGE}.aio, or register a plain function"
            )

    def tell_failure(self, error: BaseException, source: str, event: str, pid: int | None) -> None:
        """Count and log an exception of a callback, without the payload."""
        with self.changing:
            self.failed += 1
        what = "event callback failed; source=%s, event=%s, pid=%s"
        report(what, source, event, pid, failure=error)

    @staticmethod
    def tell_debugger(callback: Handler | None, source: str, event: str, pid: int | None) -> None:
        """Log that this callback is called for an event, or that none is."""
        is_wanted = callback is not None and callback is not needs_no_handler
        what = "handling event" if is_wanted else "no handler"
        report(f"{what}; source=%s, event=%s, pid=%s", source, event, pid, level=DEBUG)

    def _others(self, level: Level, callback: Handler) -> tuple[Any, ...]:
        """Those of a level that are not this callback."""
        return tuple(one for one in self._held.get(level, ()) if not same(_callback(one), callback))


class Several:
    """Several callbacks, or weakly held ones, called as one that never fails."""

    def __init__(self, handlers: Handlers, held: Sequence[Any]) -> None:
        self._handlers = handlers
        self._held = held

    def __call__(self, data: Any, event: str, source: str, pid: int | None, /) -> None:
        handlers, process = self._handlers, self._handlers.process
        for callback in self._held:
            if isinstance(callback, weakref.ref):
                callback = callback()
            if callback is not None:
                handlers.call(callback, data, event, source, pid)
            del callback  # this frame must not keep it alive
            if handlers.process is not process:  # it forked this child: the event is its parent's
                return

    def living(self) -> Several | None:
        """Those that are alive, now held strongly; None if there are none."""
        held = map(_callback, self._held)
        alive = [one for one in held if one is not None]
        return Several(self._handlers, alive) if alive else None


def _callback(held: Any) -> Any:
    """What is held, weakly or strongly; None if it is no more."""
    return held() if isinstance(held, weakref.ref) else held


def _reference(callback: Handler, at_death: Callable[[Any], None]) -> weakref.ref[Any]:
    try:
        if isinstance(callback, MethodType):
            return weakref.WeakMethod(callback, at_death)
        return weakref.ref(callback, at_death)
    except TypeError as error:
        raise TypeError(
            f"register_weak: {callback!r} cannot be held weakly; register it, or pass a function"
        ) from error


def same(known: object, callback: object) -> bool:
    """Are they the same callback? Two that are just equal are not; bound methods are made anew."""
    methods = MethodType, BuiltinMethodType
    if isinstance(callback, methods) and isinstance(known, methods):
        return known == callback
    return known is callback
