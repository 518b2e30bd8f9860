"""The command `check`."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from commands import Program
from inside import (
    CHECKED,
    WORD,
    Map,
    Memory,
    command_of,
    faults_of,
    word_at,
)
from programs import start

import stdevents

pytestmark = pytest.mark.usefixtures("interruptible")


SIZE = 16384
COMMAND = "import runpy; runpy.run_module('stdevents', run_name='__main__')"


@pytest.fixture
def memory(name, request):
    """The memory of a bus that has been round its ring and its slots, with claims in it."""
    size = getattr(request, "param", SIZE)
    bus = stdevents.Bus(name, size=size, interval=0, timeout=1000)
    bus.register(lambda *event: None)
    for number in range(3 * Map(size).events):
        bus.post("test", "tick", "x" * (number % 500), unique=number if number % 7 == 0 else None)
        bus.poll()
    memory = Memory(bus)
    before = bytes(memory.bytes), bytes(memory.ring)
    yield memory
    memory.bytes[:], memory.ring[:] = before
    bus.close()


def test_a_sound_bus_has_no_fault(called, name, memory):
    layout = memory.map
    slots = layout.events + layout.claims + layout.workers

    status, out, err = called("check", name)
    assert (status, err) == (0, "")
    program = f" {command_of(os.getpid())}" if sys.platform.startswith("linux") else ""
    who = f"1 worker ({os.getpid()}{program})"
    assert out == f"bus {name}, {who}, {slots:,} slots: no fault\n"


def test_its_exit_status_is_right_where_nobody_reads_what_it_says(name, memory):
    """A monitor whose log has died must not be told that all is well."""
    memory.words[memory.map.event(memory.last - 1, "CHECK")] ^= 1
    reader, writer = os.pipe()
    os.close(reader)
    process = start(COMMAND, "check", name, stdout=writer)
    os.close(writer)
    assert (process.communicate()[1], process.returncode) == ("", 1)


def test_a_fault_is_told_in_a_line(called, name, memory):
    number = memory.last - 1
    memory.words[memory.map.event(number, "CHECK")] ^= 1

    status, out, err = called("check", name)
    fault, total = out.splitlines()
    assert (status, fault, err) == (1, f"event {number}: its checksum is wrong", "")
    assert total.startswith(f"bus {name}, 1 worker ({os.getpid()}") and total.endswith(": 1 fault")


@pytest.mark.parametrize("byte", CHECKED)
def test_check_finds_a_flipped_byte_of_an_event_slot(name, memory, byte):
    memory.bytes[WORD * memory.map.event(memory.last - 5) + byte] ^= 0x40

    assert faults_of(name)


@pytest.mark.parametrize("word", ["MAGIC", "SIZE", "WORKERS", "CLAIMS", "EVENTS", "OVERFLOW"])
def test_check_finds_a_flipped_byte_of_the_header(name, memory, word):
    memory.bytes[WORD * word_at(f"HEADER_{word}")] ^= 0x40

    (fault,) = faults_of(name)
    assert fault.startswith(f"bus {name!r}: its shared memory ")


@pytest.mark.parametrize("byte", range(WORD))
def test_check_finds_a_flipped_byte_of_last(name, memory, byte):
    memory.bytes[WORD * word_at("LAST") + byte] ^= 0x40

    assert faults_of(name)


def test_check_finds_an_intent_that_is_too_low(name, memory):
    memory.words[word_at("INTENT")] -= 1

    assert any("INTENT" in fault for fault in faults_of(name))


@pytest.mark.parametrize("change", [-1, Map(SIZE).events])
def test_check_finds_an_intent_that_no_post_has_had(name, memory, change):
    memory.words[word_at("INTENT_ID")] += change

    assert any("INTENT_ID" in fault for fault in faults_of(name))


def test_check_finds_a_flipped_byte_of_the_ring(name, memory):
    """Each of the events that can still be read."""
    for number in (memory.last, memory.last - 1, memory.last - 10):
        at = memory.first_byte_of(number)
        memory.ring[at] ^= 0x01
        assert faults_of(name) == [f"event {number}: its checksum is wrong"]
        memory.ring[at] ^= 0x01


def test_check_finds_a_worker_that_is_ahead_of_the_bus(name, memory):
    memory.words[memory.map.worker(0, "POSITION")] += 1

    (fault,) = faults_of(name)
    assert fault.startswith(f"worker slot 0, process {os.getpid()}: its position is ")


def test_check_finds_a_worker_whose_slot_is_empty(name, memory):
    memory.words[memory.map.worker(0, "PID")] = 0

    assert faults_of(name) == ["worker slot 0: its file is held, and the slot says by nobody"]


# A key may stand in 128 places: so that there are others, the bus has twice as many.
@pytest.mark.parametrize("memory", [65536], indirect=True)
@pytest.mark.parametrize(
    ("word", "bit"),
    [("KEY", 1 << 7), ("WORKER", 1 << 5), ("WORKER", 1 << 40), ("EVENT", 1 << 40)],
)
def test_check_finds_a_claim_that_cannot_be(name, memory, word, bit):
    layout, words = memory.map, memory.words
    for slot in range(layout.claims):
        if words[layout.claim(slot, "EVENT")] > memory.last - layout.events:
            break
    words[layout.claim(slot, word)] ^= bit

    assert any(fault.startswith(f"claim slot {slot}: ") for fault in faults_of(name))


def test_check_takes_no_bus_in_use_for_damaged(name, worker):
    """While others post, and are killed in the middle of a post (G2)."""
    posting = """
import sys, stdevents
bus = stdevents.Bus(sys.argv[1], size="8k", interval=0, timeout=0.001)
bus.register(lambda *event: None)
print("open", flush=True)
n = 0
while True:
    n += 1
    bus.post("test", "tick", "x" * (n % 400), unique=n % 20 if n % 3 == 0 else None)
    bus.poll()
"""
    worker(size="8k")
    for _ in range(8):
        program = Program(start(posting, name))
        assert program.line() == "open"
        for _ in range(10):
            assert faults_of(name) == []
        program.signal(signal.SIGKILL).end()
        assert faults_of(name) == []
