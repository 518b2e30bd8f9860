"""A fork at a bad moment, and a child in which something is missing."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import select
import signal
import threading
import time
import warnings

import pytest
from children import SECONDS, threads_are_ours
from inside import (
    Listener,
    check_ground,
    is_of_codec,
    is_of_look_for_a_fork,
    is_of_opening_files,
    listener_of,
    look_at_each_turn,
    parent_hook_kept,
    runs_loop,
    under_lock,
    without_parents_hooks,
)
from seen import everything_from
from state import assert_alone, assert_removed
from steps import at_each, is_ours, with_steps
from waiting import loop_threads, wait_for_the_end_of

import stdevents


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
        # Both at once: the loop's fork may not come between the two.
        bus.post_many([("test", "fork", None, "once"), ("test", "next", None)])
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
def test_a_child_keeps_no_file_of_a_loop_that_the_fork_did_not_wait_for(bus):
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
        if os.getpid() == pid:  # the child handles it from its beginning
            may_go_on.wait()

    def hold_the_lock():
        under_lock(bus, lambda: (locked.set(), may_go_on.wait()))

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

    without_parents_hooks(monkeypatch, bus)
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
    with warnings.catch_warnings():
        # Python counts threads by a file, or else after the fork, when the loop runs again.
        warnings.simplefilter("ignore", DeprecationWarning)
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


def test_a_child_that_only_listens_becomes_a_worker_as_soon_as_it_can(bus, fork, caplog):
    """G7: it makes no call of its own, and misses nothing."""
    bus.configure(wait_max=0.05, interval=0.01)
    heard = threading.Event()
    bus.register(lambda *_: heard.set(), "test")

    def work(parent):
        while "next try in" not in caplog.text:
            time.sleep(0.001)
        parent.tell()
        return heard.wait(SECONDS)

    def fork_and_hear():
        child = fork(work)
        child.hear()
        return child

    child = under_lock(bus, fork_and_hear)
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
        return caplog.messages, bus.stats().handled, bus.stats().unhandled

    with parent_hook_kept(bus), monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        child = fork(work)
    (message,), handled, unhandled = child.result()
    assert "no loop: can't start new thread" in message
    assert (handled, unhandled) == (1, 1)  # its `started`, and the event


@threads_are_ours
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_parent_in_which_no_thread_can_be_started_tries_again(bus, name, fork, monkeypatch):
    """G7: at its next calls, though its former thread, in a handler during the fork, looks too."""
    began, release = threading.Event(), threading.Event()

    def be_slow(*_):
        began.set()
        release.wait(SECONDS)

    def start(thread):
        raise RuntimeError("can't start new thread")

    look_at_each_turn(monkeypatch)
    bus.register(be_slow, "slow")
    bus.configure(interval=10 * SECONDS, wait_interval=0.001)
    before = loop_threads(name)
    bus.post("slow", "event")
    assert began.wait(SECONDS)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        fork(lambda parent: None).wait()
        release.set()
        wait_for_the_end_of(before)
    while not runs_loop(bus):
        bus.post("test", "event")
        time.sleep(0.001)


def test_a_child_without_file_descriptors_listens_when_it_has_some(bus, fork):
    """G7: to the bell, too, and without a call of its own."""
    bus.configure(interval=0.01)

    def work(raise_limit):
        heard = threading.Event()
        bus.register(lambda *_: heard.set(), "stdevents", "started")
        raise_limit()
        assert heard.wait(SECONDS)
        while hasattr(select, "epoll") and not isinstance(listener_of(bus), Listener):
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


@pytest.mark.parametrize("call", ["configure", "post", "poll", "close"])
def test_a_signal_handler_forks_during_a_call(name, watchdog, call):
    """G7: parent and child both go on with the call, each as a worker of its own."""
    bus = stdevents.Bus()
    bus.register(lambda *_: None, "test")
    calls = {
        "configure": lambda: bus.configure(name, interval=0),
        "post": lambda: bus.post("test", "event"),
        "poll": bus.poll,
        "close": bus.close,
    }
    children = []

    def traced(code):
        # Where an open file has no owner yet, nobody can close it in the child. And a handler of a
        # signal runs between two calls, not between any two opcodes.
        return is_ours(code) and not (is_of_opening_files(code) or is_of_look_for_a_fork(code))

    def fork():
        children.append(os.fork())
        if not children[-1]:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)

    def live_on(status=1):
        """What a child does after the call; it ends well if that goes well."""
        with contextlib.suppress(BaseException):
            if call != "close":
                bus.post("test", "of child")
                bus.poll()
                assert [worker.pid for worker in bus.workers()].count(os.getpid()) == 1
                bus.close()
            status = int(bus.configured())
        os._exit(status)

    for at_step in at_each(fork, stride=97):
        if call != "configure":
            bus.configure(name, interval=0)
        if call == "poll":
            bus.post("test", "event", unique="key")
        try:
            with_steps(calls[call], at_step, traced, opcodes=True)
        except BaseException:
            if children and not children[-1]:
                os._exit(2)
            raise
        if children and not children[-1]:
            live_on()
        while children:
            assert os.waitpid(children.pop(), 0)[1] == 0
        if call != "close":
            bus.post("test", "of parent")
            bus.poll()
            assert_alone(bus)
        bus.close()
        assert_removed(name)


def test_a_child_forked_during_a_close_removes_nothing_made_since(name, watchdog, caplog):
    """G7: it goes on with that close when its parent has left, and has opened the bus anew."""
    bus = stdevents.Bus()
    children = []

    def fork():
        ends = os.pipe()
        children.append((os.fork(), *ends))
        if not children[-1][0]:
            os.read(ends[0], 1)

    for at_step in at_each(fork, stride=3):
        bus.configure(name, interval=0)
        try:
            with_steps(
                bus.close, at_step, lambda code: is_ours(code) and not is_of_opening_files(code)
            )
        finally:
            if children and not children[-1][0]:
                said = [one for one in caplog.messages if "not left" in one]
                os._exit(bus.configured() or bool(said))
        bus.configure(name, interval=0)
        for child, *ends in children:
            os.write(ends[1], b"!")
            assert os.waitpid(child, 0)[1] == 0
            for end in ends:
                os.close(end)
        children.clear()
        check_ground(bus)
        bus.close()
        assert_removed(name)


def test_a_signal_handler_forks_during_a_poll_that_finds_nothing(bus, watchdog):
    """G7: it ends in the child as well, which is a worker of its own with its next call."""
    children = []
    for at_step in at_each(lambda: children.append(os.fork())):
        bus.poll()
        try:
            told = with_steps(bus.poll, at_step, opcodes=True)
        except BaseException:
            if children and not children[-1]:
                os._exit(2)
            raise
        if children and not children[-1]:
            with contextlib.suppress(BaseException):
                pids = [worker.pid for worker in bus.workers()]
                bus.close()
                os._exit(told != "done" or pids.count(os.getpid()) != 1)
            os._exit(3)
        while children:
            assert os.waitpid(children.pop(), 0)[1] == 0


def test_a_child_forked_during_new_names_writes_its_own_pid(bus, watchdog):
    """G7: what its parent has written of them, and knows from then on, is not the child's."""
    pids, names = [], map(str, itertools.count())
    # Of what children post: a parent posts meanwhile.
    bus.register(lambda data, event, source, pid: pids.extend([pid] if data else []), "test")
    children = []
    for at_step in at_each(lambda: children.append(os.fork())):
        event = next(names)
        with_steps(lambda: bus.post("test", event), at_step, is_of_codec)  # noqa: B023
        if children and not children[-1]:
            with contextlib.suppress(BaseException):
                pids.clear()
                bus.post("test", event, "of a child")
                bus.poll()
                bus.close()
            os._exit(pids != [os.getpid()])
        if children:
            assert os.waitpid(children.pop(), 0)[1] == 0
        bus.poll()
