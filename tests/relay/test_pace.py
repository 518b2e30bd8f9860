"""A host that catches up does not overrun its own workers, and waits for nobody for long."""

from __future__ import annotations

import time

from entries import entry_of, only
from inside import worker_patience

COUNT = 2000


def catch_up(host, client, count):
    """Have a host join a stream of so many events, and see it come to the last of them."""
    pipeline = client.pipeline()
    for number in range(count):
        pipeline.xadd("stream", entry_of("event", number))
    pipeline.execute()
    host.join(client)
    host.wait_for(lambda: ("event", count - 1) in host.seen)
    assert host.seen == only(range(count))


def test_workers_that_are_slower_than_the_stream_lose_nothing(host, client, fork, monkeypatch):
    """G3: with "drop", as with "wait"; also where they are waited for again and again."""
    worker_patience(monkeypatch, 1)
    count = 5000
    a = host("a", size=65536, start="oldest", relayed=False)

    def work(parent):
        parent.tell()
        seen = []

        def slowly(data, event, source, pid):
            time.sleep(0.0004)  # what a handler does
            seen.append(data)

        a.bus.register(slowly, "test", "event")
        a.wait_for(lambda: seen and seen[-1] == count - 1)
        return len(seen), a.bus.stats().lost

    worker = fork(work)
    worker.hear()
    catch_up(a, client, count)
    assert worker.result() == (count, 0)


def test_a_worker_that_is_very_slow_keeps_nobody_from_the_stream(host, client, fork, monkeypatch):
    """G5: it goes on all the time, but the others would get what it takes in a second or so."""
    worker_patience(monkeypatch, 0.2)
    a = host("a", size=65536, start="oldest", relayed=False)

    def work(parent):
        a.bus.register(lambda *event: time.sleep(0.2), "test", "event")
        parent.tell()
        while True:
            a.bus.poll()
            time.sleep(0.001)

    worker = fork(work)
    worker.hear()
    catch_up(a, client, COUNT)
    worker.kill()


def test_a_worker_that_stands_still_keeps_nobody_from_the_stream(host, client, fork, monkeypatch):
    """It is told what it has lost."""
    worker_patience(monkeypatch, 0.2)
    a = host("a", size=65536, start="oldest", relayed=False)

    def stand_still(parent):
        a.bus.poll()
        parent.tell()
        parent.hear()
        a.wait_for(lambda: ("event", COUNT - 1) in a.seen)
        return a.bus.stats().lost

    worker = fork(stand_still)
    worker.hear()
    catch_up(a, client, COUNT)
    worker.say()
    assert worker.result() > 0
