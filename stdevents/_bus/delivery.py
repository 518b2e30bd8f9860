"""Delivery: an open bus, as one worker reads it, and the handling of what is new.

A run of events is copied and decoded at once, and handled one by one. For each event: its claim,
if it has `unique`; then POSITION; then its handlers. So whoever is forked by a handler, or
interrupted in it, goes on after the event. DONE follows at the end of the run.
"""

from __future__ import annotations

import os

from .._log import DEBUG, ERROR, WARNING, debugging, report
from .._names import OF_THE_BUS, event_list
from .._system import fence as _fence
from .._table import workers as _workers
from .._table.claim import IGNORE, LOST, MINE_NOT_HELD
from .._table.layout import LAST, WAITING
from .._table.read import UNKNOWN, Run
from .._table.standing import Standing
from . import codec as _codec
from .progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._names import EventList
    from .._system.process import Mark
    from .._system.signals import Signals
    from .._table.table import Table
    from .handlers import Handlers
    from .settings import Settings

events: EventList = event_list(OF_THE_BUS, "started", "stopping", "lost", "asked", "answered")
ROUNDS = 16
LONG_TEXT = 4096  # bytes, from which on it is let go of at once

LAPPED = "overwritten before this worker came to them; poll more often, or configure a larger size"
DAMAGED = "their shared memory is damaged"
UNREADABLE = "they are not written as events are: by another version, or they are damaged"


class Delivery:
    """The reading of one worker on one seat: moves its progress, and tells that in its slot."""

    def __init__(
        self,
        table: Table,
        slot: int,
        handlers: Handlers,
        progress: Progress,
        settings: Settings,
        mark: Mark,
    ) -> None:
        self.table = table
        self.slot = slot
        self.handlers = handlers
        self.progress = progress
        #: a poll ends after the handler that it is in
        self.ended = False
        #: host and entry of the event whose handlers run, if a relay brought it
        self.origin: tuple[str, str] | None = None
        self._words = table.words
        self._read = table.reader.run
        self._settings = settings
        self._mark = mark
        self._worker = _workers.mark_of(progress.serial, os.getpid())
        self.standing = Standing(
            table.words, slot, table.ring_for_waiters,
            lambda: handlers.tasks.done_through(progress.finished),  # no cycle: it keeps memory
        )  # fmt: skip
        self._position_at = self.standing.position_at
        self._debug = False
        run = progress.run
        if run.end == UNKNOWN and run.through == progress.position:
            progress.run = table.run_at(progress.position)

    # -- what is new -------------------------------------------------------------------------------

    def has_news(self) -> bool:
        """Is there anything that a poll would handle?"""
        return self._words[LAST] != self.progress.position or bool(self.progress.local)

    def may_sleep(self) -> bool:
        """Ask the next post to wake us; False if there is something new already."""
        if not self._mark.word[0]:
            self._mark.check()
        words = self._words
        words[WAITING] = 1  # W1
        _fence.fence()  # between W1 and W2: also x86-64 would load LAST before W1 is visible
        self.standing.check_before_sleep()
        return words[LAST] == self.progress.position and not self.progress.local  # W2

    def go_to_oldest(self) -> None:
        """Go on with the oldest event that there is; LockTimeout."""
        self.progress.begin(self.table.go_back(self.slot))

    # -- runs --------------------------------------------------------------------------------------

    def handle_rounds(self, signals: Signals | None = None) -> bool:
        """Handle what is new until nothing is left, in at most ROUNDS rounds; was there anything?

        `signals` come through meanwhile. What was copied, and is not handled because an exception
        ends this, is kept. LostGround, LockTimeout, SegmentError; RecursionError and MemoryError
        where decoding meets them.
        """
        progress = self.progress
        if self._words[LAST] == progress.position and not progress.local:  # R1
            return False
        self._debug = debugging()  # asked once, not for each event
        try:
            if signals is not None:
                signals.unblock()
            self._handle_rounds()
        finally:
            if signals is not None:
                signals.block()
        return True

    def _handle_rounds(self) -> None:
        progress, words = self.progress, self._words
        for _ in range(ROUNDS):
            if self.ended:  # another thread, or a handler, closed the bus, or forked this child
                return
            last = words[LAST]
            if last == progress.position and not progress.local:  # R1
                return
            if not self._mark.word[0]:
                self._mark.check()
            if progress.was_removed:
                progress.was_removed = False
                self._tell_lost(None, None, None)
            try:
                if progress.local:
                    self._handle_local()
                while progress.position < last and not self.ended and self._handle_run():
                    pass
                if last < progress.position:
                    self.table.read(progress.run)  # raises what is wrong
            finally:
                progress.finished = progress.position

    def _handle_run(self) -> bool:
        """Handle some of what is new; was it new indeed?"""
        progress = self.progress
        run = progress.run
        if progress.position == run.through:
            run = self._read(run.through, run.end, run.check) or self.table.read(run)
            progress.run = run
            if progress.position == run.through:  # LAST was torn: a 32-bit Python stores halves
                return False
        if not self._mark.word[0]:
            self._mark.check()
        for first, last, overwritten in run.losses:
            if progress.position < last and not self.ended:
                why = LAPPED if overwritten else DAMAGED
                self._lose(max(first, progress.position + 1), last, why)
        try:
            if progress.position < run.through and not self.ended:
                self._handle_text(run)
        finally:
            progress.finished = progress.position
            if not self.ended and self._mark.word[0]:  # else the slot is not ours any more
                self.standing.end_run(progress.position, progress.unhandled, progress.lost)
        return True

    def _handle_text(self, run: Run) -> None:
        progress = self.progress
        try:
            records, end = _codec.from_json(text := run.text.decode(), 0)
        except (*_codec.NOT_JSON, RecursionError):  # some of its records may be sound, or less deep
            records = None
        if type(records) is list and len(records) == run.through - run.before and end == len(text):
            if progress.position > run.before:
                del records[: progress.position - run.before]
            self._handle_records(records)
        else:
            records = self.table.reader.cut(run)[progress.position - run.before :]
            self._handle_apart(records)
        if progress.position < run.through and not self.ended:
            self._pass_unhandled(run.through)
        if progress.position == run.through and len(run.text) > LONG_TEXT:
            progress.run = Run(run.through, run.through, run.end, run.check)

    def _handle_records(self, records: list[Any]) -> None:
        """Handle the decoded events after the position: the common ones, all in one loop."""
        progress, words, handlers = self.progress, self._words, self.handlers
        position_at, event_id, local = self._position_at, progress.position, progress.local
        found, looked_at = {} if self._debug else handlers.found, handlers.looked_at
        callback = last_source = last_event = None
        for record in records:
            event_id += 1
            try:
                pid, source, event, data = record
                if event != last_event or source != last_source:  # most often they are the same
                    callback = found[source][event]
                    last_source, last_event = source, event
                    passed = event_id - 1 - progress.position
                    if passed and callback is not None and callback is not looked_at:
                        progress.unhandled += passed
            except (ValueError, TypeError, KeyError):  # with `unique`, say, or new names
                callback, last_event = looked_at, None
            if callback is None:  # no handler: taken together with the next event
                continue
            if callback is looked_at:
                self._handle(event_id, record)
            else:
                words[position_at] = event_id  # before its handlers run
                progress.position = event_id
                try:
                    result = callback(data, event, source, pid)
                    if result is not None:
                        handlers.refuse(result)
                except Exception as error:
                    handlers.tell_failure(error, source, event, pid)
                progress.finished = event_id
            if local:
                self._handle_local()
            if self.ended:
                return
            if found is not handlers.found and not self._debug:
                found, last_event = handlers.found, None  # a handler has registered another one

    def _handle_apart(self, records: list[bytes | None]) -> None:
        """Handle the records after the position, of which not all are events, one by one."""
        first = event_id = self.progress.position + 1
        while records and records[0] is None:
            event_id += 1
            del records[0]
        if event_id > first:
            self._lose(first, event_id - 1, LAPPED)
        for record in records:
            if self.ended:
                return
            try:
                parts = _codec.decode(record or b"")
            except ValueError:
                parts = []
            self._handle(event_id, parts)
            if self.progress.local:
                self._handle_local()
            event_id += 1

    # -- one event ---------------------------------------------------------------------------------

    def _handle(self, event_id: int, parts: Any) -> None:
        """Handle an event that is not of the common kind, or drop what is none."""
        if self.progress.position + 1 < event_id:
            self._pass_unhandled(event_id - 1)
        if not _codec.is_event(parts):
            self._lose(event_id, event_id, UNREADABLE)
            return
        pid, source, event, data, *more = parts
        others = self.handlers.is_for_others(source, event, data)
        callback = None if others and not self._debug else self.handlers.find(source, event)
        key = more[0] if more else None
        if key is not None and callback is not None:
            # Held: else it might be claimed, and then have no handler.
            callback = self.handlers.living(callback)
            if callback is not None and not self._claim(event_id, key):
                return
        if self._debug:
            self.handlers.tell_debugger(callback, source, event, pid)
        if others:
            self.progress.leave_out()
            self._pass_over(event_id)
            return
        if callback is None:
            self._pass_unhandled(event_id)
            return
        self._move_to(event_id)
        if len(more) == 3:
            self.origin = more[1], more[2]
        try:
            self.handlers.call(callback, data, event, source, pid)
        finally:
            self.origin = None
        self.progress.finished = event_id

    def _claim(self, event_id: int, key: str) -> bool:
        """Is this worker the one to handle the event? If not, pass it over."""
        progress = self.progress
        outcome, pid = IGNORE, 0
        if self._settings.role == "worker":
            outcome, pid = self.table.claim(event_id, key, self._settings.timeout, self._worker)
        if outcome == LOST:
            self._lose(event_id, event_id, LAPPED)
            return False
        if outcome == IGNORE:
            progress.ignored += 1
            self._pass_over(event_id)
            if self._debug and pid:
                report("skipping event %d was handled by worker %d", event_id, pid, level=DEBUG)
            return False
        progress.claimed = event_id
        if outcome == MINE_NOT_HELD:
            report(
                "bus %r: too many unique keys at once; that of event %d is not held: "
                "configure a larger size, or a shorter timeout",
                self.table.name, event_id, level=WARNING,
            )  # fmt: skip
        return True

    def _move_to(self, event_id: int) -> None:
        """Take all events up to this one, visibly to others; handlers are called next."""
        self._words[self._position_at] = event_id
        self.progress.position = event_id

    def _pass_over(self, event_id: int) -> None:
        """Take all events up to this one, of which no handler is to be called."""
        self._move_to(event_id)
        self.progress.finished = event_id

    def _pass_unhandled(self, event_id: int) -> None:
        """Take all events up to this one, none of which has a handler."""
        self.progress.unhandled += event_id - self.progress.position
        self._pass_over(event_id)

    # -- what is not on the bus --------------------------------------------------------------------

    def _handle_local(self) -> None:
        local = self.progress.local
        for _ in range(len(local)):
            if self.ended:
                return
            self._call(*local.popleft())

    def _lose(self, first: int, last: int, why: str) -> None:
        """Tell that these events are lost, and go on after them."""
        progress, count = self.progress, last - first + 1
        report(
            "bus %r: events %d to %d (%d) are lost, " + why,
            self.table.name, first, last, count, level=WARNING if why is LAPPED else ERROR,
        )  # fmt: skip
        progress.lost += count
        self._move_to(last)
        self._tell_lost(first, last, count)
        progress.finished = last

    def _tell_lost(self, first: int | None, last: int | None, count: int | None) -> None:
        self._call(events._source, events.lost, {"first": first, "last": last, "count": count})

    def _call(self, source: str, event: str, data: Any) -> None:
        """Call the handlers for an event of this process alone."""
        callback = self.handlers.find(source, event)
        if self._debug:
            self.handlers.tell_debugger(callback, source, event, None)
        if callback is not None:
            self.handlers.call(callback, data, event, source, None)
