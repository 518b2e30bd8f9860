"""What the ways to get one event to several processes have in common.

A transport is made before its workers are forked. In a worker `open` connects it, and `take`
returns when a burst is there, each event of which has been given to `note`; the poster calls
`connect` and `send`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile

# What becomes of a worker that is too slow for its events.
TOLD, WAITS, GROWS, SILENT = "is told", "holds up the poster", "grows a backlog", "loses silently"


class Transport:
    """One way; `send` is given as many events at once as one message of it carries."""

    title = ""
    needs = ""  # a module that may not be there
    ordered = False  # do all workers get the events of several posters in one order?
    slow = SILENT
    takes_long = 1  # times fewer events are enough, one at a time
    servers = ()  # the processes that it needs besides

    def __init__(self, workers, count, length, batch):
        self.workers = workers
        self.count = count  # events of a burst
        self.batch = batch  # events of a message
        self.room = count * max(512, length + 256) + (1 << 20)  # bytes, for a burst
        # In memory, as that of ours is.
        self.folder = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)

    @classmethod
    def is_here(cls):
        """Is what it needs installed?"""
        return not cls.needs or importlib.util.find_spec(cls.needs) is not None

    def open(self, number, note):
        """Be worker so-and-so."""

    def take(self):
        """Wait until a whole burst has come."""

    def connect(self):
        """Be the poster."""

    def send(self, some):
        """Send the data of so many events."""

    def leave(self):
        """Be a worker no more."""

    def close(self):
        """Leave nothing."""
        shutil.rmtree(self.folder)


class Texts(Transport):
    """One that carries texts: a message is the JSON of an event, or of a list of events."""

    def open(self, number, note):
        self.note = note
        self.listen(number)

    def listen(self, number):
        """Connect worker so-and-so."""

    def receive(self):
        """The next message."""

    def take(self):
        left = self.count
        while left:
            left -= self.hand_over(self.receive())

    def text_of(self, some):
        """The message that carries these events."""
        if self.batch == 1:
            return json.dumps(["cache", "drop", some[0]])
        return json.dumps([["cache", "drop", data] for data in some])

    def hand_over(self, text):
        """Note the events of a message; how many?"""
        if self.batch == 1:
            self.note(json.loads(text)[2])
            return 1
        events = json.loads(text)
        for _, _, data in events:
            self.note(data)
        return len(events)
