"""What a bus hands to its handlers, written down."""

from __future__ import annotations


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
