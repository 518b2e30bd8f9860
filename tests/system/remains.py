"""What may lie where a bus belongs, and how a bus takes that."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest
from inside import MAGIC, WORD, WORKERS, Map, word_at
from programs import start

import stdevents

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

NOBODY = 65534

SIZE = 1 << 20

# Posts and polls once for each line that it is sent, and says what it has handled so far.
WORKER = """
import contextlib, sys
import stdevents

with contextlib.closing(stdevents.Bus(sys.argv[1], interval=0)) as bus:
    handled = []
    bus.register(lambda data, *_: handled.append(data), "test")
    print("ready", flush=True)
    for line in sys.stdin:
        bus.post("test", "event", line.strip())
        bus.poll()
        print(*handled, flush=True)
"""

# Is alive to all others, and never touches the memory, which may be cut short under it.
HOLDER = """
import fcntl, os, sys

fcntl.flock(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
print("ready", flush=True)
sys.stdin.read()
"""

# Dies, as if killed, with the bus open.
KILLED = """
import os, signal, sys
import stdevents

stdevents.Bus(sys.argv[1], interval=0)
os._exit(0)
"""


@contextlib.contextmanager
def running(program, *arguments):
    """A program that has said that it is ready; it has to end well when its input does."""
    process = start(program, *arguments)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def assert_refused(name, number=None):
    """The bus cannot be opened, and the error says which one it is."""
    bus = stdevents.Bus()
    with pytest.raises(stdevents.SegmentError, match=name) as caught:
        bus.configure(name, interval=0)
    assert caught.value.errno == number or number is None
    assert not bus.configured()
    return str(caught.value)


def assert_opens_anew(name):
    """Nothing of what was there counts any more."""
    with contextlib.closing(stdevents.Bus(name, interval=0, start="oldest")) as bus:
        assert bus.stats().last_id == 1
        assert [worker.pid for worker in bus.workers()] == [os.getpid()]
        events = []
        bus.register(lambda data, event, *_: events.append(event))
        bus.post("test", "event")
        bus.poll()
        assert events == ["started", "event"]


def read_word(memory, word):
    with open(memory, "rb") as file:
        file.seek(WORD * word_at(word))
        return int.from_bytes(file.read(WORD), sys.byteorder)


def write_word(memory, word, value):
    with open(memory, "r+b") as file:
        file.seek(WORD * word_at(word))
        file.write(value.to_bytes(WORD, sys.byteorder))


SWAPPED = int.from_bytes(MAGIC.to_bytes(WORD, "little"), "big")

SOUND = Map(SIZE)

WORDS = [
    *(("HEADER_MAGIC", value) for value in (0, 1, MAGIC + 1, MAGIC - 1, SWAPPED)),
    *(("HEADER_SIZE", value) for value in (0, 1, SIZE - 256, SIZE + 1, 1 << 63)),
    *(("HEADER_WORKERS", value) for value in (0, WORKERS - 1, 1 << 63)),
    *(("HEADER_CLAIMS", value) for value in (0, SOUND.claims + 1)),
    *(("HEADER_EVENTS", value) for value in (0, SOUND.events - 1, SOUND.events * 2)),
    *(("HEADER_OVERFLOW", value) for value in (2, 1 << 63)),
]

COUNTERS = [
    *(("LAST", value) for value in (2, 1 << 40, (1 << 64) - 1)),
    *(("INTENT", value) for value in (0, 1 << 40, (1 << 64) - 1)),
    *(("INTENT_ID", value) for value in (0, 1 << 40, (1 << 64) - 1)),
]

LENGTHS = [SOUND.total - 1, Map(1024).total, 4096, 256, 255, WORD, 1, 0]
