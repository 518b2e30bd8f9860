"""What a bus hands to its handlers, written down."""

from __future__ import annotations

import threading


class Seen(list):
    """The broadcast and local events of a bus since the last look, as (event, data, pid)."""

    def __init__(self, bus):
        super().__init__()
        self.bus = bus
        bus.register(self.note)

    def note(self, data, event, source, pid):
        self.append((event, data, pid))

    def new(self):
        """Poll, and what came of it."""
        self.bus.poll()
        new = self[:]
        self.clear()
        return new


class Ledger:
    """A worker's account: what it was given and what it was told to have lost, by id."""

    def __init__(self, bus):
        stats = bus.stats()
        self.first = self.next = stats.last_id - stats.lag + 1
        self.delivered = {}
        self.lost = []
        self.misled = []  # what it was told of losses that cannot be
        bus.register(self.note)

    def note(self, data, event, source, pid):
        if event == "lost" and source == "stdevents":
            if data["first"] != self.next or data["count"] != data["last"] - data["first"] + 1:
                self.misled.append((self.next, data))
            self.lost += range(data["first"], data["last"] + 1)
            self.next = data["last"] + 1
        else:
            self.delivered[self.next] = (event, data, pid)
            self.next += 1


class Record(list):
    """A handler that keeps what it was given: the data of the events."""

    def __call__(self, data, event, source, pid):
        self.append(data)


def everything_from(bus, source):
    """A record of the events of `source` that are to come."""
    return bus.register(Record(), source)


class Ear:
    """What a bus hands to handlers, and when something of it has come."""

    def __init__(self, bus):
        self.seen = []
        self._come = threading.Condition()
        bus.register(self._note)

    def _note(self, data, event, source, pid):
        if event not in ("started", "stopping"):
            with self._come:
                self.seen.append((event, data))
                self._come.notify_all()

    def wait_for(self, event):
        with self._come:
            self._come.wait_for(lambda: event in [event for event, _ in self.seen])
        return self.seen
