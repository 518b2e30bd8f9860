"""An open bus, as one process sees it: its position, and the handling of what is new."""

from __future__ import annotations

import os
import time
from collections import deque

from .._log import logger
from .._names import event_list
from .._table.layout import FLAG_RELAYED, FLAG_UNIQUE, LAST, NAMES_SHIFT, WAITING
from .._table.table import LOST, Table
from . import codec as _codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._names import EventList
    from .._system.bell import Listener
    from .._table.table import Record
    from .._table.workers import Worker
    from .handlers import Callbacks, Handlers
    from .segment import Segment

events: EventList = event_list("stdevents", "started", "stopping", "lost")

ROUNDS = 16
NOT_PLAIN = FLAG_UNIQUE | FLAG_RELAYED
# What a payload raises that is not an event of ours.
NOT_DECODED = (ValueError, LookupError, TypeError, RecursionError, StopIteration)
DEBUG = 10  # logging.DEBUG, without its import
LOOK_EVERY = 0.5  # seconds between two looks whether the bus is still there


class Session:
    """An open bus, as one process sees it; a forked child makes one of its own."""

    def __init__(self, segment: Segment, worker: Worker, position: int, handlers: Handlers) -> None:
        self.segment = segment
        self.handlers = handlers
        self.over = False
        self.settings = segment.settings
        self.table = Table(segment)
        self.words = segment.words
        self.position = position  # id of the last event that was taken
        self.position_at = worker.position_at
        self.watch: Listener | None = None  # behind `fileno`
        self.handled = self.lost = self.ignored = 0
        self.local: deque[tuple[str, str, Any]] = deque()
        self.origin: tuple[str, str] | None = None  # of the event that is being handled
        self._debug = False
        self.process = os.getpid()
        self.next_look = time.monotonic() + LOOK_EVERY
        self.was_removed = False  # the bus before this one, which handlers do not know yet

    def take(self, event_id: int) -> None:
        """Move to the event `event_id`, visibly to all; the events up to it count as handled."""
        before = self.position
        self.position = self.words[self.position_at] = event_id
        self.handled += event_id - before

    def skip(self, event_id: int) -> None:
        """The same; the events do not count as handled."""
        self.position = self.words[self.position_at] = event_id

    def go_on_from(self, before: Session) -> None:
        """Carry over queue, counts and listener from the session of this process before."""
        self.local = before.local
        self.handled, self.lost, self.ignored = before.handled, before.lost, before.ignored
        self.table.posted = before.table.posted
        self.was_removed |= before.was_removed
        self.watch = before.watch
        if self.watch is not None:
            self.watch.listen_to(self.segment.bell)
            self.watch.wake()

    def may_sleep(self) -> bool:
        """Ask the next post to wake us; False if there is something new already."""
        self.words[WAITING] = 1  # W1
        return self.words[LAST] == self.position and not self.local  # W2

    def is_intact(self, interval: float) -> bool:
        """Is the bus still there, and the files of this process open? Looks now and then."""
        now = time.monotonic()
        if now < self.next_look:
            return True
        # Half an interval: a sleep may end a little early.
        self.next_look = now + min(LOOK_EVERY, interval / 2 or LOOK_EVERY)
        if self.over or self.segment.is_intact():
            return True
        return self.segment.lock.mine()  # we interrupted a post of our own; look next time

    def handle_rounds(self) -> None:
        """Handle what is new until nothing is left, in at most ROUNDS rounds."""
        self._debug = logger().isEnabledFor(DEBUG)  # asked once, not for each event
        for _ in range(ROUNDS):
            last = self.words[LAST]
            if last == self.position and not self.local:
                return
            if last < self.position:
                self.table.read(self.position)  # raises what is wrong
            if self.was_removed:
                self.was_removed = False
                self._tell_lost(None, None, None)
            if self.local:
                self._handle_local()
            while self.position < last and not self.over:
                self._handle_run()
            if self.over:  # a handler closed the bus, or forked this child
                return

    def _handle_local(self) -> None:
        for _ in range(len(self.local)):
            if not self.over:
                source, event, data = self.local.popleft()
                self._dispatch(self.handlers.find(source, event), data, event, source, None)

    def _handle_run(self) -> None:
        through, records = self.table.read(self.position)
        if records and records[0][0] != self.position + 1:
            self._lose(records[0][0] - 1)
        handlers, from_json = self.handlers, _codec.from_json
        words, position_at = self.words, self.position_at
        for record in records:
            event_id, pid, flags, payload = record
            known = handlers.known.get(payload[: flags >> NAMES_SHIFT])
            if known is not None and not known[3] and not self._debug:
                continue  # no handler, so not decoded; taken together with the next one
            if event_id != self.position + 1:
                self.take(event_id - 1)
            if self.local:
                self._handle_local()
                known = None  # one of its handlers may have registered another
            if self.over:
                return
            if known is None or flags & NOT_PLAIN:
                self._handle(record)
                continue
            source, event, data_at, callbacks = known
            try:
                data = from_json(payload.decode(), data_at)[0]
            except NOT_DECODED as error:
                self._drop(record, error)
                continue
            # Before its handlers run: a child that one of them forks goes on after it, and so
            # does the next poll if one of them is interrupted. As `take`, of one event.
            self.position = words[position_at] = event_id
            self.handled += 1
            if self._debug:
                self._log(event, source, pid)
            handlers.dispatch(callbacks, data, event, source, pid)
        if not self.over:
            if records:
                self.take(max(self.position, records[-1][0]))
            if self.position < through:
                self._lose(through)

    def _handle(self, record: Record) -> None:
        """The slow way: names not seen yet, `unique`, or relayed."""
        event_id, pid, flags, payload = record
        known = self.handlers.known
        try:
            parts = _codec.decode(payload)
            source, event, data = parts[0], parts[1], parts[2]
            callbacks = self.handlers.find(source, event)
            data_at = _codec.data_at(source, event, payload, flags)
        except NOT_DECODED as error:
            self._drop(record, error)
            return
        if data_at:
            found = source, event, data_at, callbacks
            self.handlers.remember(known, payload[: flags >> NAMES_SHIFT], found)
        if flags & FLAG_UNIQUE:
            callbacks = self.handlers.living(
                callbacks
            )  # else it might be claimed without a handler
            if callbacks and not self._claim(event_id, parts[3]):
                return
        self.take(event_id)
        try:
            if flags & FLAG_RELAYED:
                self.origin = parts[4], parts[5]
            self._dispatch(callbacks, data, event, source, pid)
        finally:
            self.origin = None

    def _claim(self, event_id: int, key: str) -> bool:
        """Is this worker the one to handle the event? If not, skip it."""
        mine, pid = claimed = self.table.claim(event_id, key, self.settings.timeout)
        if claimed is LOST:
            self._lose(event_id)
        elif not mine:
            self.skip(event_id)
            self.ignored += 1
            logger().debug("skipping event %d was handled by worker %d", event_id, pid)
        return mine

    def _drop(self, record: Record, error: Exception) -> None:
        event_id, pid, _, _ = record
        what = "bus %r: event %d of process %d cannot be decoded, and is dropped: %s"
        logger().error(what, self.segment.name, event_id, pid, type(error).__name__)
        self._lose(event_id)

    def _lose(self, last: int) -> None:
        """Announce that the events after the position up to `last` are lost; go on after them."""
        first = self.position + 1
        count = last - self.position
        self.skip(last)
        self.lost += count
        logger().warning(
            "bus %r: events %d to %d (%d) are lost, overwritten before this worker came to them; "
            "poll more often, or configure a larger size",
            self.segment.name, first, last, count,
        )  # fmt: skip
        self._tell_lost(first, last, count)

    def _tell_lost(self, first: int | None, last: int | None, count: int | None) -> None:
        source, event = events._source, events.lost
        data = {"first": first, "last": last, "count": count}
        self._dispatch(self.handlers.find(source, event), data, event, source, None)

    def _dispatch(
        self, callbacks: Callbacks, data: Any, event: str, source: str, pid: int | None
    ) -> None:
        if self._debug:
            self._log(event, source, pid)
        if callbacks:
            self.handlers.dispatch(callbacks, data, event, source, pid)

    @staticmethod
    def _log(event: str, source: str, pid: int | None) -> None:
        logger().debug("handling event; source=%s, event=%s, pid=%s", source, event, pid)
