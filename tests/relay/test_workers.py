"""Several workers on a host: one of them reads, and another one when that is gone."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from types import SimpleNamespace

import pytest
from children import SECONDS, threads_are_ours
from entries import entry_of, lost, only
from hosts import Host
from inside import (
    Overtaken,
    batches_from,
    depose_reader,
    elect_for,
    elect_often,
    elect_until_far_future,
    hold_batch,
    name_of,
    new_reader,
    place_in_stream,
    reader_of,
    stopped,
    under_lock,
)
from programs import run

import stdevents


@pytest.fixture
def hasty(monkeypatch):
    """Workers that look for a reader often, so that a test need not wait for it."""
    elect_often(monkeypatch)


def work(parent, bus, server, seconds=SECONDS):
    """A worker with a relay, until it is told to end, or is that old."""
    signal.alarm(seconds)
    bus.close()
    relayed = Host(stdevents.Bus(name_of(bus), interval=0), server.client())
    parent.tell(os.getpid())
    parent.hear()
    relayed.bus.poll()
    relayed.close()
    return relayed.seen


@pytest.fixture
def crew(host, server, fork, hasty):
    """Three workers with a relay each, and the bus of this process, which has none."""
    watching = host(relayed=False)
    crew = [fork(work, watching.bus, server) for _ in range(3)]
    assert [worker.hear() for worker in crew] == [worker.pid for worker in crew]
    watching.wait_for(lambda: reader_of(watching.bus) in {worker.pid for worker in crew})
    return watching, {worker.pid: worker for worker in crew}


def test_one_worker_of_a_host_reads(crew, client):
    watching, workers = crew
    for number in range(50):
        client.xadd("stream", entry_of("event", number))
    watching.until(*only(range(50)))
    for worker in workers.values():
        worker.say()
        assert worker.result() == only(range(50))


def test_a_reader_that_is_killed_is_replaced(crew, client):
    """G5: by one that goes on at the right place."""
    watching, workers = crew
    killed = set()
    for number in range(3):
        client.xadd("stream", entry_of("event", number))
        watching.wait_for(lambda: ("event", number) in watching.seen)  # noqa: B023
        reader = reader_of(watching.bus)
        assert reader not in killed
        workers[reader].kill()
        killed.add(reader)
    client.xadd("stream", entry_of("event", 3))
    watching.until(*only(range(3)))


def test_a_stopped_reader_is_replaced_and_doubles_nothing_later(crew, client, monkeypatch):
    """Its lease runs out. Nothing that it still does counts: it is another one's term."""
    watching, workers = crew
    for number in range(3):
        reader = reader_of(watching.bus)
        under_lock(watching.bus, workers[reader].stop)  # else it may be in it for ever
        client.xadd("stream", entry_of("event", number))
        watching.wait_for(lambda: ("event", number) in watching.seen)  # noqa: B023
        assert reader_of(watching.bus) != reader
        workers[reader].go_on()
    client.xadd("stream", entry_of("event", 3))
    watching.until(*only(range(4)))
    for worker in workers.values():
        worker.say()
        assert worker.result() == only(range(4))


def test_a_reader_that_leaves_is_replaced(crew, client):
    watching, workers = crew
    reader = reader_of(watching.bus)
    workers[reader].say()
    workers[reader].result()
    client.xadd("stream", entry_of("event", 1))
    watching.until(("event", 1))


def test_a_reader_whose_term_is_over_appends_nothing(host, client, monkeypatch):
    """The fencing: an election while it holds what it has read."""
    elect_for(monkeypatch, SECONDS)
    a = host("a")
    a.relay.close()
    client.xadd("stream", entry_of("event", 1))
    client.xadd("stream", entry_of("event", 2))
    first = new_reader(a)
    second = new_reader(a)
    assert first.elect() and not second.elect()
    before = first.begin()
    (batch,) = batches_from(first, before, 10)
    depose_reader(a.bus)
    assert second.elect()
    for _ in range(2):
        hold_batch(first, before, batch)
        with pytest.raises(Overtaken):
            first.read()
        assert not first.reading
        second.read()
    a.until(*only((1, 2)))


@pytest.fixture
def deposed(host, client, monkeypatch):
    """A host, a reader of it that has read entry 1-1, and does not know that there is another."""
    elect_for(monkeypatch, SECONDS)
    a = host("a")
    a.relay.close()
    client.xadd("stream", entry_of("event", 1), "1-1")
    first, second = new_reader(a), new_reader(a)
    assert first.elect() and first.read()
    depose_reader(a.bus)
    assert second.elect()
    return a, first, second


def test_a_loss_is_counted_and_logged_by_the_reader_that_tells_it(deposed, client, caplog):
    """And not by one that has seen it, and is too late to put it on the bus."""
    a, first, second = deposed
    for number in (2, 3):
        client.xadd("stream", entry_of("event", number), f"{number}-1")
    client.xtrim("stream", 1, approximate=False)
    with pytest.raises(Overtaken):
        first.read()
    assert a.relay.stats().gaps == 0
    assert not caplog.messages
    assert second.read() and second.read()
    a.until(("event", 1), lost(count=1, first="1-2", last="3-0"), ("event", 3))
    assert a.relay.stats().gaps == len(caplog.messages) == 1


def test_what_is_left_to_another_host_is_counted_once(deposed, client):
    a, first, second = deposed
    a.bus.unregister(a.note, "test")  # so that this host does not take it
    client.xadd("stream", entry_of("one", 2, unique="key"), "2-1")
    with pytest.raises(Overtaken):
        first.read()
    assert second.read()
    assert a.relay.stats().elsewhere == 1


def test_a_reader_that_has_read_from_another_place_appends_nothing(host, client):
    """The same term, but not the place: two threads of a process that was slow to fork, say."""
    a = host("a")
    a.relay.close()
    client.xadd("stream", entry_of("event", 1))
    reader = new_reader(a)
    reader.elect()
    before = reader.begin()
    (batch,) = batches_from(reader, before, 10)
    assert reader.read()
    hold_batch(reader, before, batch)
    with pytest.raises(Overtaken):
        reader.read()
    a.until(("event", 1))


# -- fork ------------------------------------------------------------------------------------------


def test_a_forked_child_has_the_relay_too(host, fork, hasty):
    """G7: it posts, and it reads when its parent does not."""
    a = host("a")

    def live(parent):
        a.relay.post("test", "event", 1)
        parent.hear()
        a.relay.post("test", "event", 2)
        a.wait_for(lambda: a.relay.stats().reading and ("event", 2) in a.seen)
        return a.seen

    child = fork(live)
    a.until(("event", 1))
    a.relay.close()
    child.say()
    assert child.result()[-1] == ("event", 2)
    a.until(*only((1, 2)))


@threads_are_ours
def test_a_process_with_a_relay_may_fork_at_any_time(host, fork):
    a = host("a", wait_max=SECONDS)  # which is how long a fork waits for the relay's thread
    for number in range(15):
        a.relay.post("test", "event", number)
        fork(lambda parent: None).result()
    a.until(*only(range(15)))


def test_a_fork_waits_until_the_thread_of_the_relay_has_ended(host):
    """Not only Python's account of it: the kernel has removed the thread."""
    a = host("a", wait_max=SECONDS)
    a.wait_for(lambda: a.relay.stats().reading)
    for number in range(15):
        running = len(os.listdir("/proc/self/task"))
        with stopped(a.relay):
            assert len(os.listdir("/proc/self/task")) == running - 1
        a.relay.post("test", "event", number)
        a.until(*only(range(number + 1)))


def test_a_child_that_was_forked_while_redis_stands_still_reaches_it_later(host, server, fork):
    a = host("a", client=server.client(socket_timeout=0.2))
    a.wait_for(lambda: place_in_stream(a.bus))
    server.stop()

    def live(parent):
        parent.tell()
        a.wait_for(lambda: ("event", 1) in a.seen)

    try:
        child = fork(live)
        child.hear()
    finally:
        server.go_on()
    b = host("b")
    b.relay.post("test", "event", 1)
    child.result()
    a.until(("event", 1))


def test_a_program_may_end_with_all_open(name, server):
    """Nothing hangs, nothing is printed, nothing is left."""
    program = """
import sys, redis, stdevents
bus = stdevents.configure(sys.argv[1])
client = redis.Redis(unix_socket_path=sys.argv[2], socket_timeout=5)
relay = stdevents.Relay(bus, client, "stream")
print(relay.post("test", "event"))
"""
    assert "-" in run(program, name, server.path)


def test_threads_may_post_at_once(host):
    """Each post has what it is known by to itself: none is taken for another one, sent again."""
    a = host("a")

    def post(thread):
        for number in range(50):
            a.relay.post("test", "event", [thread, number])

    threads = [threading.Thread(target=post, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    a.wait_for(lambda: len(a.seen) == 200)
    for thread in threads:
        thread.join()
    for thread in range(4):
        of_thread = [data[1] for _, data in a.seen if data[0] == thread]
        assert of_thread == list(range(50))


def test_a_successor_in_the_slot_of_the_reader_that_died_reads_at_once(
    host, server, fork, hasty, client, monkeypatch
):
    """It is known by its serial, too: it does not wait for the lease of the dead one."""
    elect_for(monkeypatch, 10 * SECONDS)
    watching = host(relayed=False)
    first = fork(work, watching.bus, server)
    first.hear()
    watching.wait_for(lambda: reader_of(watching.bus) == first.pid)
    (slot,) = [worker.slot for worker in watching.bus.workers() if worker.pid == first.pid]
    first.kill()
    second = fork(work, watching.bus, server)
    second.hear()
    assert (second.pid, slot) in [(worker.pid, worker.slot) for worker in watching.bus.workers()]
    client.xadd("stream", entry_of("event", 1))
    watching.until(("event", 1))
    assert reader_of(watching.bus) == second.pid


def test_a_lease_that_ends_later_than_one_can_is_not_believed(host, client):
    """Of a clock that has begun again since, or by damage: else nobody ever read."""
    a = host("a")
    a.relay.close()
    first, second = new_reader(a), new_reader(a)
    assert first.elect() and not second.elect()
    elect_until_far_future(a.bus)
    assert second.elect()


def test_a_child_that_was_forked_without_hooks_has_the_relay_too(host, fork, hasty, monkeypatch):
    """C code forks so: the child's first call finds out, also that there is no thread."""
    a = host("a")
    a.relay.post("test", "event", 0)
    a.until(("event", 0))
    # Stopped: a lock that its thread holds, of redis-py, say, nobody would release in the child.
    with monkeypatch.context() as patch, stopped(a.relay):
        patch.setattr(os, "fork", ctypes.PyDLL(None).fork)

        def live(parent):
            a.relay.post("test", "event", 1)
            parent.hear()
            a.relay.post("test", "event", 2)
            a.wait_for(lambda: a.relay.stats().reading and ("event", 2) in a.seen)
            return a.relay.stats().posted

        child = fork(live)
    a.until(*only(range(2)))
    a.relay.close()
    child.say()
    assert child.result() == 2
    a.until(*only(range(3)))


def test_a_thread_that_could_not_be_started_is_started_by_the_next_post(host, monkeypatch):
    """As after a fork at the bound of threads."""
    a = host("a")

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with stopped(a.relay):
            pass
    a.relay.post("test", "event", 1)
    a.until(("event", 1))


@pytest.mark.parametrize("role, may_read", [("listener", True), ("poster", False)])
def test_a_process_of_another_role_posts_over_its_relay(host, server, fork, role, may_read):
    """A poster is never the reader: nobody could see whether it lives."""
    a = host("a")

    def live(parent):
        a.bus.close()
        a.relay.close()
        bus = stdevents.Bus(name_of(a.bus), interval=0, role=role)
        relay = stdevents.Relay(bus, server.client(), "stream")
        relay.post("test", "event", role)
        parent.hear()
        relay.close()
        return new_reader(SimpleNamespace(bus=bus, relay=relay)).elect()

    child = fork(live)
    a.until(("event", role))
    a.relay.close()
    child.say()
    assert child.result() == may_read
