"""stdevents as a transport: read by its loop, by `fileno`, and on an asyncio event loop."""

from __future__ import annotations

import asyncio
import select
import threading
import time

from common import name
from transports import TOLD, Transport

import stdevents


class Loop(Transport):
    """The handlers run in the loop's thread; the main thread waits for the last event."""

    title = "stdevents"
    ordered = True
    slow = TOLD
    interval = 10

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.bus_name = name()
        self.bus = stdevents.Bus()
        self.burst_is_there = threading.Event()

    def open(self, number, note):
        last = self.count - 1

        def handle(data, event, source, pid):
            note(data)
            if data["n"] == last:
                self.burst_is_there.set()

        self.listen(handle)

    def listen(self, handle):
        self.bus.register(handle, "cache")
        self.configure(self.interval)

    def configure(self, interval):
        self.bus.configure(self.bus_name, size=self.room, interval=interval, wait_max=30)

    def take(self):
        self.burst_is_there.wait()
        self.burst_is_there.clear()

    def connect(self):
        self.configure(0)

    def send(self, some):
        if self.batch == 1:
            self.bus.post("cache", "drop", some[0])
        else:
            self.bus.post_many([("cache", "drop", data) for data in some])

    def leave(self):
        self.bus.close()

    def close(self):
        self.bus.close()
        super().close()


class Fileno(Loop):
    """Polled when `fileno` is readable, with the README's recipe for a burst."""

    title = "stdevents, by fileno"
    interval = 0

    def take(self):
        bus = self.bus
        while not self.burst_is_there.is_set():
            asleep = time.monotonic()
            select.select([bus.fileno()], [], [])
            time.sleep(max(0, asleep + 0.0004 - time.monotonic()))
            bus.poll()
        self.burst_is_there.clear()


class Asyncio(Loop):
    """Handled on an asyncio event loop, by plain handlers."""

    title = "stdevents, on asyncio"
    interval = 0

    def listen(self, handle):
        self.configure(self.interval)
        self.loop = asyncio.new_event_loop()
        self.on_loop = stdevents.aio.AsyncBus(self.bus)
        self.on_loop.register(handle, "cache")
        self.loop.run_until_complete(self.attach())

    async def attach(self):
        self.burst_is_there = asyncio.Event()
        self.on_loop.attach()

    def take(self):
        self.loop.run_until_complete(self.burst_is_there.wait())
        self.burst_is_there.clear()

    def leave(self):
        super().leave()
        self.loop.close()


OURS = (Loop, Fileno, Asyncio)
