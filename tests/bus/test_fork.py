"""G7: a forked child of a configured parent is a worker of its own from the fork on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import warnings

import pytest
from children import SECONDS, threads_are_ours
from inside import (
    before,
    loop_thread_of,
    recover,
    under_lock,
)
from programs import run
from seen import Record, everything_from

import stdevents

# -- a worker of its own ---------------------------------------------------------------------------


def test_a_child_has_a_pid_and_a_slot_of_its_own(bus, fork):
    """G7."""

    def work(parent):
        bus.post("child", "hello")
        return {worker.pid: worker.slot for worker in bus.workers()}

    pids = []
    bus.register(lambda data, event, source, pid: pids.append(pid), "child")
    child = fork(work)
    slots = child.result()
    bus.poll()
    assert pids == [child.pid]
    assert set(slots) == {os.getpid(), child.pid}
    assert len(set(slots.values())) == 2


@pytest.mark.parametrize("by", ["fork", "fork_in_c"])
def test_a_child_has_a_lock_of_its_own(bus, request, by):
    """G7: with the parent's open file it would be let in wherever the parent is."""
    fork = request.getfixturevalue(by)
    bus.configure(wait_max=0.05)

    def work(parent):
        parent.tell()
        parent.hear()
        with pytest.raises(stdevents.LockTimeout):
            bus.post("child", "too early")
        parent.tell()
        parent.hear()
        return bus.post("child", "now")

    child = fork(work)
    child.hear()
    last = bus.stats().last_id
    under_lock(bus, lambda: (child.say(), child.hear()))
    assert bus.stats().last_id == last
    child.say()
    assert child.result() == bus.stats().last_id


def test_a_child_has_the_handlers_and_the_position_of_its_parent(bus, fork):
    """G7."""
    seen = everything_from(bus, "test")
    bus.post("test", "before", 1)
    bus.poll()
    bus.post("test", "before", 2)

    def work(parent):
        bus.post("test", "after", 3)
        bus.poll()
        return seen

    assert fork(work).result() == [1, 2, 3]
    assert seen == [1]
    bus.poll()
    assert seen == [1, 2, 3]


def test_a_child_has_a_loop_of_its_own(bus, fork):
    """G7."""
    bus.configure(interval=0.01)

    def work(parent):
        heard = threading.Event()
        bus.register(lambda *_: heard.set(), "parent", "hello")
        parent.tell()
        return heard.wait(30)

    child = fork(work)
    child.hear()
    bus.post("parent", "hello")
    assert child.result()


def test_what_a_child_registers_is_not_registered_in_its_parent(bus, fork):
    """G7."""
    seen = everything_from(bus, "test")

    def work(parent):
        mine = everything_from(bus, "test")
        bus.unregister(seen, "test")
        bus.post("test", "event", 1)
        bus.poll()
        return seen, mine

    assert fork(work).result() == ([], [1])
    bus.poll()
    assert seen == [1]


def test_a_local_event_that_was_queued_before_stays_the_parents(bus, fork):
    """G7."""
    seen = everything_from(bus, "test")
    bus.post_local("test", "event", "the parent's")

    def work(parent):
        bus.post_local("test", "event", "the child's")
        bus.poll()
        return seen

    assert fork(work).result() == ["the child's"]
    bus.poll()
    assert seen == ["the parent's"]


def test_a_child_counts_for_itself(bus, fork):
    """G7: `stats()` are those of one process, since it was forked."""
    bus.post("test", "event")
    bus.poll()

    def work(parent):
        bus.poll()
        return bus.stats()

    stats = fork(work).result()
    assert (stats.posted, stats.handled, stats.lost, stats.lag) == (1, 1, 0, 0)  # its `started`


def test_the_death_of_the_parent_does_not_matter(name, fork):
    """G7, G9: the child posts, polls, and removes what is there when it leaves as the last."""

    def work(parent):
        bus = stdevents.Bus(name, interval=0)
        if os.fork():
            signal.pause()
        signal.alarm(SECONDS)
        parent.tell()
        parent.hear()
        seen = everything_from(bus, "orphan")
        bus.post("orphan", "event", 1)
        bus.poll()
        alive = [worker.pid for worker in bus.workers()]
        bus.close()
        parent.tell((seen, alive == [os.getpid()]))
        os._exit(0)

    child = fork(work)
    child.hear()
    child.kill()
    child.say()
    assert child.hear() == ([1], True)


def test_a_child_of_a_child_is_a_worker_too(bus, fork):
    """G7."""

    def work(parent, generations):
        seen = everything_from(bus, "family")
        pids = [os.getpid()]
        if generations:
            pids += fork(work, generations - 1).result()
        bus.post("family", "event", generations)
        bus.poll()
        assert seen == list(range(generations + 1))
        return pids

    seen = everything_from(bus, "family")
    pids = fork(work, 4).result()
    assert len(set(pids)) == 5
    bus.poll()
    assert seen == [0, 1, 2, 3, 4]


def test_a_child_that_closes_the_bus_leaves_it_to_its_parent(bus, fork):
    """G7, G9."""
    seen = everything_from(bus, "stdevents")

    def work(parent):
        bus.close()
        return bus.configured()

    child = fork(work)
    assert child.result() is False
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]
    bus.post("test", "event")
    bus.poll()
    assert seen == [], "it never began, so it posted neither `started` nor `stopping`"


def test_a_child_may_close_and_configure_anew(bus, fork, name):
    """G7."""

    def work(parent):
        bus.close()
        bus.configure(name)
        return bus.post("child", "again")

    assert fork(work).result() == bus.stats().last_id


# -- many of them ----------------------------------------------------------------------------------


counts_late = pytest.mark.skipif(
    sys.version_info[:2] == (3, 13) and sys.implementation.name == "cpython",
    reason="CPython 3.13 counts threads after the hooks (its issue 137109)",
)


@counts_late
def test_forks_under_a_running_loop_warn_of_nothing(bus, fork):
    """G7: from Python 3.12 on a fork with a second thread warns; the loop is not one."""
    bus.configure(interval=0.001)
    heard = []
    all_heard = threading.Event()

    def handler(data, event, source, pid):
        heard.append(pid)
        if event == "last":
            all_heard.set()

    def work(parent):
        bus.post("test", "child")

    bus.register(handler, "test")
    pids = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(30):
            bus.post("test", "parent")  # the loop shall have something to do
            child = fork(work)
            child.result()
            pids.append(child.pid)
    bus.post("test", "last")
    assert all_heard.wait(30)
    assert [str(warning.message) for warning in caught] == []
    assert [pid for pid in heard if pid != os.getpid()] == pids


@counts_late
@pytest.mark.skipif(
    sys.version_info < (3, 12) or sys.implementation.name != "cpython",
    reason="no fork warns of threads here",
)
def test_a_fork_with_a_thread_of_the_program_still_warns(bus, fork):
    """Only our own account is settled: between two forks that warn of nothing, one that has to."""
    bus.configure(interval=0.001)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)

    def warnings_of_a_fork():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fork(lambda parent: None).result()
        return len(caught)

    counts = [warnings_of_a_fork()]
    thread.start()
    counts.append(warnings_of_a_fork())
    over.set()
    thread.join()
    counts.append(warnings_of_a_fork())
    assert counts == [0, 1, 0]


def test_a_fork_with_two_buses_open(bus, name, fork):
    """G7: each of them is ready in the child."""
    other = stdevents.Bus(f"{name}-other", interval=0)

    def work(parent):
        return bus.post("child", "event"), other.post("child", "event")

    try:
        assert fork(work).result() == (bus.stats().last_id, other.stats().last_id)
    finally:
        other.close()


@threads_are_ours
@pytest.mark.parametrize("place", ["stopping is posted", "the bus is left"])
def test_a_fork_while_another_thread_closes_leaves_no_lock_taken(name, fork, monkeypatch, place):
    """Neither in the child, which may open a bus, nor in the parent, which may do so again."""
    bus = stdevents.Bus(name, interval=0)
    closing = threading.Event()

    def slow():
        closing.set()
        closing_may_end.wait(0.2)

    def work(parent):
        monkeypatch.undo()
        bus.configure(name, interval=0)
        bus.close()

    closing_may_end = threading.Event()
    before(monkeypatch, place, slow)
    thread = threading.Thread(target=bus.close)
    thread.start()
    closing.wait()
    child = fork(work)
    child.result()
    thread.join()
    monkeypatch.undo()
    thread = threading.Thread(target=bus.configure, args=(name,))
    thread.start()
    thread.join(SECONDS)
    assert loop_thread_of(bus) is not None
    bus.close()


def open_files_of(name):
    """The plain files of the bus that this process has open, by their names."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{number}")
            if f"-{name}/" in path and not path.endswith("/bell"):
                found.append(os.path.basename(path))
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@threads_are_ours
@pytest.mark.parametrize("file", ["lock", "worker.0", "lead."])
def test_a_fork_while_another_thread_opens_a_file_copies_no_lock(name, fork, monkeypatch, file):
    """G5: else it would be held as long as the child lives, whatever becomes of its parent."""
    bus, is_open, forked = stdevents.Bus(), threading.Event(), threading.Event()
    open_in_c = os.open

    def open_and_wait(path, *arguments, **options):
        number = open_in_c(path, *arguments, **options)
        if os.path.basename(path).startswith(file) and not is_open.is_set():
            is_open.set()
            forked.wait()
        return number

    monkeypatch.setattr(os, "open", open_and_wait)
    work = [lambda: bus.configure(name, interval=0), lambda: bus.lead("task")]
    if file == "lead.":
        work.pop(0)()
    thread = threading.Thread(target=work[0])
    thread.start()
    is_open.wait()
    try:
        copied = fork(lambda parent: open_files_of(name)).result()
    finally:
        forked.set()
        thread.join()
    bus.close()
    assert copied == (["worker.0"] if file == "lead." else [])  # by which it holds the bus


def test_a_child_that_has_no_seat_yet_keeps_the_bus_of_its_parent(name, fork, monkeypatch):
    """G7: it goes on where its parent was, though that one has left."""
    bus = stdevents.Bus(name, interval=0)

    def fail():
        raise OSError("not yet")

    def work(parent):
        monkeypatch.undo()
        parent.hear()
        seen = bus.register(Record(), "stdevents", "lost")
        bus.post("test", "event")
        bus.poll()
        return seen

    before(monkeypatch, "a child becomes a worker", fail)
    child = fork(work)
    monkeypatch.undo()
    bus.close()
    anew = stdevents.Bus(name, interval=0)
    seen = everything_from(anew, "test")
    child.say()
    assert child.result() == []
    anew.poll()
    assert len(seen) == 1
    anew.close()


def test_a_post_while_a_child_becomes_a_worker_takes_no_second_slot(bus, fork):
    def work(parent):
        return [worker.pid for worker in bus.workers()].count(os.getpid())

    seen, posted = everything_from(bus, "test"), []

    def post():
        if not posted:
            posted.append(bus.post("test", "signal"))

    with pytest.MonkeyPatch.context() as patch:
        before(patch, "a child opens the bell", post)
        child = fork(work)
    assert child.result() == 1
    bus.poll()
    assert len(seen) == 1, "what was posted meanwhile"


def test_a_child_has_the_types_that_its_parent_has_not_loaded(name):
    """G7: it may not be allowed to read them any more, having changed its root or its user."""
    program = """
import os, sys
import stdevents

stdevents.configure(sys.argv[1], interval=0)
child = os.fork()
if not child:
    sys.meta_path.clear()
    assert stdevents.workers() and stdevents.stats().last_id
    os._exit(7)
assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7
print("ok")
"""
    assert run(program, name) == "ok\n"


def test_a_child_forked_while_its_parent_becomes_a_worker_is_one_too(bus, monkeypatch):
    """G7: as by a parent that waits for a lock which a stopped process holds."""
    there, here = os.pipe()

    def fork_a_child():
        monkeypatch.undo()
        assert bus.configured()
        child = os.fork()
        if not child:
            os.write(here, b"%d" % bus.configured())
            bus.close()
            os._exit(0)
        os.waitpid(child, 0)

    before(monkeypatch, "a child becomes a worker", fork_a_child)
    recover(bus)
    assert os.read(there, 1) == b"1"
    os.close(there)
    os.close(here)
