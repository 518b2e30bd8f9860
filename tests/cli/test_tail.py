"""The command `tail`."""

from __future__ import annotations

import json
import signal
import time

import pytest
from commands import stop
from inside import append

pytestmark = pytest.mark.usefixtures("interruptible")


def test_tail_shows_what_comes(command, called, name, worker):
    a_worker = worker()
    tail = command("tail", name, "--oldest")
    started = json.loads(tail.line())
    assert (started["id"], started["source"], started["event"]) == (1, "stdevents", "started")
    assert "time" not in started, "it was there before, and nobody knows since when"
    started_at = time.time() - 1

    assert called("post", name, "cache", "drop", '{"é": 1}', "--unique", "k")[1] == "2\n"
    event = json.loads(tail.line())
    assert event.pop("pid") > 0
    assert event.pop("time") > started_at
    told = {"id": 2, "source": "cache", "event": "drop", "data": {"é": 1}, "unique": "k"}
    assert event == told

    a_worker.post("test", "mine", [3])
    mine = {"id": 3, "source": "test", "event": "mine", "data": [3]}
    event = json.loads(tail.line())
    del event["time"]
    assert event == {**mine, "pid": a_worker.pid}
    assert tail.signal(signal.SIGINT).end() == (0, "", "")


def test_tail_takes_no_worker_slot(command, called, name, worker):
    worker()
    tail = command("tail", name, "--oldest")
    tail.line()

    state = json.loads(called("status", name, "--json")[1])
    assert len(state["workers"]) == 1


def test_tail_shows_only_what_it_is_asked_for(command, name, worker):
    a_worker = worker()
    for source, event in (("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("end", "end")):
        a_worker.post(source, event)

    def first_ids(count, *options):
        tail = command("tail", name, "--oldest", *options)
        ids = [json.loads(tail.line())["id"] for _ in range(count)]
        tail.signal(signal.SIGINT).end()
        return ids

    assert first_ids(2, "--source", "a") == [2, 3]
    assert first_ids(2, "--event", "x") == [2, 4]
    assert first_ids(1, "--source", "b", "--event", "y") == [5]


def test_tail_shows_a_gap(command, name, worker):
    """G3, for an onlooker."""
    a_worker = worker(size=1024)
    tail = command("tail", name, "--oldest")
    assert json.loads(tail.line())["id"] == 1
    stop(tail.process, name)
    for number in range(2, 12):
        a_worker.post("test", "tick", [number, "x" * 200])
    tail.signal(signal.SIGCONT)

    gap = json.loads(tail.line())
    del gap["time"]
    assert gap == {"lost": {"first": 2, "last": gap["lost"]["last"], "count": gap["lost"]["count"]}}
    ids = [json.loads(tail.line())["data"][0] for _ in range(gap["lost"]["last"] + 1, 12)]
    assert ids == list(range(gap["lost"]["last"] + 1, 12))
    assert gap["lost"]["count"] == gap["lost"]["last"] - 1 >= 6
    tail.signal(signal.SIGINT).end()


@pytest.mark.parametrize("record", [b"[1,2,3,4],", b'{"a":1},', b"nonsense"])
def test_tail_shows_what_is_no_event_as_a_gap(command, bus, name, record):
    """And goes on after it."""
    before = bus.post("test", "event", 1)
    append(bus, record)
    bus.post("test", "event", 2)
    tail = command("tail", name, "--source", "test", "--oldest")
    assert json.loads(tail.line())["data"] == 1
    gap = {"first": before + 1, "last": before + 1, "count": 1}
    assert json.loads(tail.line()) == {"lost": gap}
    assert json.loads(tail.line())["data"] == 2
    assert tail.signal(signal.SIGINT).end() == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_tail_goes_on_when_the_bus_is_created_again(command, name, worker, number):
    first = worker()
    tail = command("tail", name, "--oldest")
    tail.line()
    if number == signal.SIGKILL:
        first.kill()
    else:
        first.leave()
        assert json.loads(tail.line())["event"] == "stopping"
    assert "no live worker any more; waiting" in tail.process.stderr.readline()

    second = worker()
    assert "created again" in tail.process.stderr.readline()
    started = json.loads(tail.line())
    assert (started["id"], started["pid"]) == (1, second.pid)
    assert tail.signal(signal.SIGINT).end() == (0, "", "")


def test_tail_ends_when_nobody_reads_it(command, name, worker):
    worker()
    tail = command("tail", name, "--oldest")
    tail.line()
    tail.close("stdout")

    assert tail.end() == (0, None, "")


def test_tail_in_a_pipe_waits_for_a_bus_that_is_not_there_yet(command, name, worker):
    tail = command("tail", name)
    said = tail.process.stderr.readline()
    assert said.startswith(f"stdevents: no bus {name!r}: it exists while a worker has it open")
    assert "; waiting for one, Ctrl-C ends" in said
    a_worker = worker()
    started = json.loads(tail.line())
    assert (started["id"], started["pid"]) == (1, a_worker.pid)
    assert tail.signal(signal.SIGINT).end() == (0, "", "")
