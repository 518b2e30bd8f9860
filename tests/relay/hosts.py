"""A host of a test: a bus of its own name with a relay, and what its handlers were given."""

from __future__ import annotations

import select
import time

import stdevents

SECONDS = 50  # after which what is waited for does not come


class Host:
    """`seen` is what there was of source "test", and of what is lost, as (event, data)."""

    OPTIONS = frozenset({"size", "timeout", "overflow", "wait_max"})  # of the bus

    def __init__(self, bus, client, **options):
        self.bus = bus
        self.seen = []
        self.told = []  # of each the pid, and the origin
        bus.register(self.note, "test")
        bus.register(self.note, "stdevents", "lost")
        self.relay = None
        self._options = options
        if options.pop("relayed", True):
            self.join(client)

    def join(self, client):
        """Have a relay, with what the host was given."""
        stream = self._options.pop("stream", "stream")
        self.relay = stdevents.Relay(self.bus, client, stream, **self._options)

    def note(self, data, event, source, pid):
        self.seen.append((event, data))
        self.told.append((pid, self.bus.origin()))

    def until(self, *expected):
        """Poll until so much was seen; and that has to be what was expected."""
        self.wait_for(lambda: len(self.seen) >= len(expected))
        assert self.seen == list(expected)

    def wait_for(self, condition):
        """Poll until the condition holds."""
        deadline = time.monotonic() + SECONDS
        self.bus.poll()
        while not condition():
            assert time.monotonic() < deadline, f"it does not come; seen: {self.seen[-10:]}"
            select.select([self.bus.fileno()], [], [], 0.05)
            self.bus.poll()

    def close(self):
        """Leave stream and bus."""
        if self.relay is not None:
            self.relay.close()
        self.bus.close()
