"""G7: a forked child of a configured parent is a worker of its own from the fork on."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import threading
import time
import warnings

import pytest
from children import SECONDS
from programs import run

import stdevents
from stdevents._bus import segment as _segment
from stdevents._system.bell import Listener

threads_are_ours = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


class Record(list):
    """A handler that keeps what it was given: the data of the events."""

    def __call__(self, data, event, source, pid):
        self.append(data)


def everything_from(bus, source):
    """A record of the events of `source` that are to come."""
    return bus.register(Record(), source)


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


def test_a_child_has_a_lock_of_its_own(bus, fork):
    """G7: with the parent's open file it would be let in wherever the parent is."""
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
    lock = bus._session.segment.lock
    try:
        lock.acquire()
        child.say()
        child.hear()
    finally:
        lock.release()
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
    assert len(seen) == 2  # the child's `started` and `stopping`


def test_a_child_may_close_and_configure_anew(bus, fork, name):
    """G7."""

    def work(parent):
        bus.close()
        bus.configure(name)
        return bus.post("child", "again")

    assert fork(work).result() == bus.stats().last_id


# -- at a bad moment -------------------------------------------------------------------------------


@threads_are_ours
def test_forks_while_other_threads_post(name, fork):
    """G7, G1, G2: whatever the threads are in the middle of, nothing hangs and nothing is lost."""
    bus = stdevents.Bus(name, size="16m", interval=0, wait_max=20)
    seen = []
    bus.register(lambda data, event, source, pid: seen.append((pid, event, data)), "test")

    def post_on(thread):
        for number in range(3000):
            bus.post("test", thread, number)

    def work(parent):
        for number in range(5):
            bus.post("test", "child", number)
        seen.clear()
        bus.poll()
        return [entry for entry in seen if entry[0] == os.getpid()]

    threads = [threading.Thread(target=post_on, args=(thread,)) for thread in "abc"]
    for thread in threads:
        thread.start()
    children = []
    while any(thread.is_alive() for thread in threads) or len(children) < 10:
        child = fork(work)
        children.append((child.pid, child.result()))
        bus.poll()
    bus.poll()
    assert bus.stats().lost == 0
    for thread in "abc":
        assert [data for pid, event, data in seen if event == thread] == list(range(3000))
    for pid, entries in children:
        assert entries == [(pid, "child", number) for number in range(5)]
        assert [entry for entry in seen if entry[0] == pid] == entries
    assert bus.stats().last_id == bus.stats().handled
    bus.close()


def test_a_handler_may_fork(bus, fork):
    """G7, G4: the event is its parent's; the child goes on after it."""

    def work(parent):
        seen, pids = [], []

        def handler(data, event, source, pid):
            seen.append(event)
            if event == "fork":
                pids.append(os.fork())

        bus.register(handler, "test")
        bus.post("test", "fork", unique="once")
        bus.post("test", "next")
        bus.poll()
        # Here are both of them.
        bus.post("test", "last of child" if pids == [0] else "last of parent")
        bus.poll()
        if pids != [0]:
            parent.tell(("parent", seen[:3]))
            assert os.waitpid(pids[0], 0)[1] == 0
            bus.poll()
            return seen, bus.stats().handler_errors
        parent.tell(("child", seen[:2]))
        os._exit(0)

    child = fork(work)
    told = dict([child.hear(), child.hear()])
    assert told["child"] == ["fork", "next"]
    assert told["parent"][:2] == ["fork", "next"]
    seen, errors = child.result()
    assert sorted(seen) == ["fork", "last of child", "last of parent", "next"]
    assert errors == 0


@threads_are_ours
def test_a_handler_in_the_loop_may_fork(bus, fork):
    """G7, G4."""
    bus.configure(interval=0.01)

    def work(parent):
        done = threading.Event()
        seen = []

        def handler(data, event, source, pid):
            seen.append(event)
            if event == "last":
                done.set()
            if event != "fork":
                return
            child = os.fork()
            if child:
                assert os.waitpid(child, 0)[1] == 0
                return
            bus.post("test", "of child")
            bus.poll()
            parent.tell(seen)
            os._exit(0)

        bus.register(handler, "test")
        # Both at once: the loop's fork may not come between the two.
        bus.post_many([("test", "fork", None, "once"), ("test", "next", None)])
        told = parent.hear()
        bus.post("test", "last")
        return told, done.wait(30), seen, bus.stats().handler_errors

    child = fork(work)
    assert child.hear()[:2] == ["fork", "next"]
    child.say("on")
    assert child.result() == ("on", True, ["fork", "next", "of child", "last"], 0)


@threads_are_ours
def test_a_child_keeps_no_descriptors_of_a_loop_that_the_fork_did_not_wait_for(bus):
    """G7: a handler takes longer than `wait_max`."""
    bus.configure(interval=0.01, wait_max=0.05)
    in_handler, may_go_on = threading.Event(), threading.Event()
    bus.register(lambda *_: (in_handler.set(), may_go_on.wait()), "test")

    def descriptors_of_a_child():
        child = os.fork()
        if not child:
            os._exit(len(os.listdir("/dev/fd")))
        return os.WEXITSTATUS(os.waitpid(child, 0)[1])

    before = descriptors_of_a_child()
    bus.post("test", "event")
    in_handler.wait()
    try:
        assert descriptors_of_a_child() == before
    finally:
        may_go_on.set()


@threads_are_ours
def test_the_hook_of_the_child_alone_will_do(bus, fork, monkeypatch):
    """G7: some servers call no other. Loop and lock are copied in the middle of their work."""
    bus.configure(interval=0.01, wait_max=0.05)
    in_handler, may_go_on, locked = (threading.Event() for _ in range(3))

    def handler(data, event, source, pid):
        in_handler.set()
        may_go_on.wait()

    def hold_the_lock():
        lock = bus._session.segment.lock
        try:
            lock.acquire()
            locked.set()
            may_go_on.wait()
        finally:
            lock.release()

    def work(parent):
        with pytest.raises(stdevents.LockTimeout):  # the lock is still the parent's
            bus.post("child", "too early")
        parent.tell()
        parent.hear()
        bus.configure(wait_max=10)
        heard = threading.Event()
        bus.register(lambda *_: heard.set(), "child")
        bus.post("child", "event")
        assert heard.wait(30)  # its loop runs
        assert bus.poll() == "done"
        return {worker.pid for worker in bus.workers()}

    monkeypatch.setattr(bus, "_before_fork", lambda: None)
    monkeypatch.setattr(bus, "_after_fork_in_parent", lambda: None)
    bus.register(handler, "parent")
    bus.post("parent", "event")
    in_handler.wait()
    holder = threading.Thread(target=hold_the_lock)
    holder.start()
    locked.wait()
    child = fork(work)
    child.hear()
    may_go_on.set()
    holder.join()
    child.say()
    assert child.result() == {os.getpid(), child.pid}


def fork_without_descriptors(parent, work):
    """Make a child that could open nothing in its hook, and may open files from then on."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Under 3 all are taken: what is open stays open, and nothing can be opened.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return
    signal.alarm(SECONDS)
    try:
        parent.tell(work(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits)))
    finally:
        os._exit(0)


def test_a_child_without_file_descriptors_says_so_at_its_next_call(bus, fork):
    """G7: and tries again at the call after."""

    def work(raise_limit):
        for call in (lambda: bus.post("child", "event"), bus.poll, bus.stats, bus.workers):
            with pytest.raises(stdevents.SegmentError, match="(?i)too many open files"):
                call()
        assert bus.configured()
        raise_limit()
        seen = everything_from(bus, "child")
        bus.post("child", "event", 1)
        bus.poll()
        return seen, [worker.pid for worker in bus.workers()].count(os.getpid())

    child = fork(fork_without_descriptors, work)
    assert child.hear() == ([1], 1)
    child.wait()


def test_a_child_that_could_not_become_a_worker_can_close(bus, fork):
    """G7, G9: whether it has got its descriptors by then, or not."""

    def close_at_once(raise_limit):
        bus.close()
        return bus.configured()

    def close_later(raise_limit):
        raise_limit()
        bus.close()
        return bus.configured()

    for work in (close_at_once, close_later):
        child = fork(fork_without_descriptors, work)
        assert child.hear() is False
        child.wait()
    bus.post("test", "event")
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]


def test_a_child_that_only_listens_becomes_a_worker_when_nothing_is_in_the_way_any_more(
    bus, fork, caplog
):
    """G7: it makes no call of its own, and misses nothing."""
    bus.configure(wait_max=0.05, interval=0.01)
    heard = threading.Event()
    bus.register(lambda *_: heard.set(), "test")

    def work(parent):
        while "next try in" not in caplog.text:
            time.sleep(0.001)
        parent.tell()
        return heard.wait(SECONDS)

    lock = bus._session.segment.lock
    try:
        lock.acquire()
        child = fork(work)
        child.hear()
    finally:
        lock.release()
    bus.post("test", "event")
    assert child.result()


def test_a_child_in_which_no_thread_can_be_started_says_so(bus, fork, monkeypatch, caplog):
    """G7: it is a worker all the same, which polls by hand."""
    bus.configure(interval=1)

    def start(thread):
        raise RuntimeError("can't start new thread")

    def work(parent):
        bus.post("test", "event")
        bus.poll()
        return caplog.messages, bus.stats().handled

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        patch.setattr(bus, "_after_fork_in_parent", lambda: None)
        child = fork(work)
    bus._after_fork_in_parent()
    (message,), handled = child.result()
    assert "no loop in a forked child: can't start new thread" in message
    assert handled == 2  # its `started`, too


def test_a_child_without_file_descriptors_listens_when_it_has_some(bus, fork):
    """G7: to the bell, too, and without a call of its own."""
    bus.configure(interval=0.01)

    def work(raise_limit):
        heard = threading.Event()
        bus.register(lambda *_: heard.set(), "stdevents", "started")
        raise_limit()
        assert heard.wait(SECONDS)
        while hasattr(select, "epoll") and not isinstance(bus._loop._round.listener, Listener):
            time.sleep(0.001)
        return bus.stats().lost

    child = fork(fork_without_descriptors, work)
    assert child.hear() == 0
    child.wait()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can drop its privileges")
def test_a_child_that_drops_its_privileges_stays_on_the_bus(bus, fork):
    """G7, G9: what it needs is open before; its exit disturbs nobody."""
    seen = everything_from(bus, "test")

    def work(parent):
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        for number in range(3):
            bus.post("test", "child", number)
        bus.poll()
        parent.tell((seen, bus.configured()))
        parent.hear()
        bus.poll()
        bus.close()
        return seen

    child = fork(work)
    assert child.hear() == ([0, 1, 2], True)
    bus.post("test", "parent", 3)
    child.say()
    assert child.result() == [0, 1, 2, 3]
    bus.post("test", "parent", 4)
    bus.poll()
    assert seen == [0, 1, 2, 3, 4]
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]


# -- many of them ----------------------------------------------------------------------------------


def test_two_hundred_forks_under_a_running_loop_warn_of_nothing(bus, fork):
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
        for _ in range(200):
            bus.post("test", "parent")  # the loop shall have something to do
            child = fork(work)
            child.result()
            pids.append(child.pid)
    bus.post("test", "last")
    assert all_heard.wait(30)
    assert [str(warning.message) for warning in caught] == []
    assert [pid for pid in heard if pid != os.getpid()] == pids


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
@pytest.mark.parametrize("place", ["_announce", "_leave"])
def test_a_fork_while_another_thread_closes_leaves_no_lock_taken(name, fork, monkeypatch, place):
    """Neither in the child, which may open a bus, nor in the parent, which may do so again."""
    bus = stdevents.Bus(name, interval=0)
    closing = threading.Event()
    real = getattr(bus, place)

    def slow(*arguments):
        closing.set()
        closing_may_end.wait(0.2)
        real(*arguments)

    def work(parent):
        monkeypatch.undo()
        bus.configure(name, interval=0)
        bus.close()

    closing_may_end = threading.Event()
    monkeypatch.setattr(bus, place, slow)
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
    assert bus._loop._round is not None
    bus.close()


def test_a_child_joins_the_bus_that_was_made_anew_meanwhile(name, fork, monkeypatch):
    """G3, G7: on the old one nobody would read what it posts; and it is told that it lost some."""
    bus = stdevents.Bus(name, interval=0)

    def enrol(*arguments):
        raise OSError("not yet")

    def work(parent):
        monkeypatch.undo()
        parent.hear()
        seen = bus.register(Record(), "stdevents", "lost")
        bus.post("test", "event")
        bus.poll()
        return seen

    monkeypatch.setattr(_segment, "enrol", enrol)
    child = fork(work)
    monkeypatch.undo()
    bus.close()
    anew = stdevents.Bus(name, interval=0)
    seen = everything_from(anew, "test")
    child.say()
    assert child.result() == [{"first": None, "last": None, "count": None}]
    anew.poll()
    assert len(seen) == 1
    anew.close()


def test_a_signal_handler_that_posts_amid_the_enrolling_takes_no_second_slot(bus, fork):
    def work(parent):
        return [worker.pid for worker in bus.workers()].count(os.getpid())

    def open_bell(segment):
        with pytest.raises(stdevents.NotConfigured):
            bus.post("test", "signal")
        real(segment)

    real = _segment.Segment.open_bell
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_segment.Segment, "open_bell", open_bell)
        child = fork(work)
    assert child.result() == 1


def test_a_child_has_the_types_that_its_parent_has_not_loaded(name):
    """G7: it may not be allowed to read them any more, having changed its root or its user."""
    program = """
import os, sys
import stdevents

stdevents.configure(sys.argv[1], interval=0)
assert "stdevents._types" not in sys.modules
child = os.fork()
if not child:
    sys.meta_path.clear()
    assert stdevents.workers() and stdevents.stats().last_id
    os._exit(7)
assert os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 7
print("ok")
"""
    assert run(program, name) == "ok\n"


def test_a_child_that_is_forked_while_its_parent_becomes_a_worker_is_one_too(bus, monkeypatch):
    """G7: as by a parent that waits for a lock which a stopped process holds."""
    enrol = _segment.enrol
    there, here = os.pipe()

    def fork_and_enrol(*arguments):
        monkeypatch.undo()
        assert bus.configured()
        child = os.fork()
        if not child:
            os.write(here, b"%d" % bus.configured())
            bus.close()
            os._exit(0)
        os.waitpid(child, 0)
        return enrol(*arguments)

    monkeypatch.setattr(_segment, "enrol", fork_and_enrol)
    bus._recover(bus._session)
    assert os.read(there, 1) == b"1"
    os.close(there)
    os.close(here)
