"""The lock between threads, alone: it always knows its owner, and whether that still is one."""

from __future__ import annotations

import gc
import threading
from time import monotonic

import pytest
from children import threads_are_ours
from inside import Busy, Inside, clock_of_pauses, thread_lock, when_the_living_are_looked_for
from outside import come_at_once, raising
from programs import run
from waiting import LONG, wait_for_the_end_of

FOREVER = float("inf")


@pytest.fixture
def lock():
    return thread_lock()


def own(lock):
    lock.owner["thread"] = threading.get_ident()


def test_work_is_done_while_it_is_owned_and_its_result_returned(lock):
    owners = []
    assert lock.hold(FOREVER, lambda n: (owners.append(lock.owner.copy()), n)[1], 7) == 7
    assert owners == [{"thread": threading.get_ident()}]
    assert not lock.owner


def test_an_exception_of_the_work_frees_it(lock):
    with pytest.raises(LookupError):
        lock.hold(FOREVER, {}.__getitem__, "missing")
    assert not lock.owner


def test_who_waits_gets_it_when_it_is_free(lock):
    inside, may_end, order = threading.Event(), threading.Event(), []
    first = threading.Thread(
        target=lock.hold,
        args=(FOREVER, lambda: (inside.set(), may_end.wait(), order.append("first"))),
    )
    first.start()
    inside.wait()
    second = threading.Thread(target=lock.hold, args=(FOREVER, order.append, "second"))
    second.start()
    may_end.set()
    first.join()
    second.join()
    assert order == ["first", "second"]


def test_who_waits_gives_up_at_its_deadline(lock, monkeypatch):
    """Neither earlier nor later, and does nothing."""
    clock = clock_of_pauses(monkeypatch)
    begun, done = clock.now, []
    inside, may_end = threading.Event(), threading.Event()
    holder = threading.Thread(
        target=lock.hold, args=(FOREVER, lambda: (inside.set(), may_end.wait()))
    )
    holder.start()
    inside.wait()
    try:
        with pytest.raises(Busy):
            lock.hold(begun + 1.2345, done.append, 1)
    finally:
        may_end.set()
        holder.join()
    assert clock.now == pytest.approx(begun + 1.2345)
    assert done == []


def test_a_call_inside_is_refused_and_does_nothing(lock):
    done = []

    def work():
        assert lock.is_inside()
        with pytest.raises(Inside):
            lock.hold(FOREVER, done.append, 1)
        assert lock.owner, "it still is the outer call's"

    lock.hold(FOREVER, work)
    assert done == []
    assert not lock.is_inside()


def test_another_lock_is_not_inside(lock):
    other = thread_lock()
    assert lock.hold(FOREVER, other.hold, FOREVER, int) == 0
    assert lock.hold(FOREVER, other.is_inside) is False


def test_what_is_left_over_of_this_thread_is_taken_over(lock):
    own(lock)
    assert not lock.is_inside()
    assert not lock.owner
    own(lock)
    assert lock.hold(0, lambda: "done") == "done"
    assert not lock.owner


def test_what_an_ended_thread_owns_is_taken_over_by_one_of_those_who_wait(lock):
    """As after exceptions that cut off its last cleaning up."""
    at_work, most, go = [], [], threading.Event()

    def work():
        at_work.append(1)
        most.append(len(at_work))
        at_work.pop()

    def wait():
        go.wait()
        lock.hold(monotonic() + LONG, work)

    threads = [threading.Thread(target=wait) for _ in range(8)]
    # Last: a thread that is started after its end may get its ident.
    for thread in [*threads, threading.Thread(target=lambda: own(lock))]:
        thread.start()
    thread.join()
    assert lock.owner
    go.set()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
    assert not lock.owner


def test_what_a_living_thread_owns_is_not_taken_over(lock):
    inside, may_end = threading.Event(), threading.Event()
    holder = threading.Thread(
        target=lock.hold, args=(FOREVER, lambda: (inside.set(), may_end.wait()))
    )
    holder.start()
    inside.wait()
    lock.free_from_ended_thread()
    assert lock.owner == {"thread": holder.ident}
    assert not lock.is_inside()
    may_end.set()
    holder.join()


@threads_are_ours
def test_a_child_forked_while_the_living_are_looked_for_collects_garbage(lock, fork, monkeypatch):
    """By another thread: the collector is off for that look, and would be in the child for ever."""
    collects = []

    def fork_meanwhile():
        assert not gc.isenabled()
        collects.append(fork(lambda parent: gc.isenabled()).result())

    def fork_in_thread():
        forking = threading.Thread(target=fork_meanwhile)
        forking.start()
        forking.join()

    when_the_living_are_looked_for(monkeypatch, fork_in_thread)
    own(lock)
    assert not lock.free_from_ended_thread()
    lock.owner.clear()
    assert collects == [True]
    assert gc.isenabled()


def test_who_takes_it_from_a_thread_that_ends_during_the_look_keeps_it(lock, monkeypatch):
    """Else two threads would own it: events were handled twice, and in no order."""

    def holder():
        has_it, may_end = threading.Event(), threading.Event()
        work = lambda: (has_it.set(), may_end.wait(LONG))  # noqa: E731
        thread = threading.Thread(target=lock.hold, args=(FOREVER, work))
        thread.start()
        return thread, has_it, may_end

    first, first_has_it, first_may_end = holder()
    assert first_has_it.wait(LONG)
    second, second_has_it, second_may_end = holder()

    def change_owner():
        first_may_end.set()
        wait_for_the_end_of([first])
        assert second_has_it.wait(LONG)

    when_the_living_are_looked_for(monkeypatch, change_owner)
    try:
        assert not lock.free_from_ended_thread()
        assert lock.owner == {"thread": second.ident}
    finally:
        second_may_end.set()
        wait_for_the_end_of([second])


THREAD_OF_A_HOOK = """
import os, threading
from inside import thread_lock

lock, inside, may_end, threads = thread_lock(), threading.Event(), threading.Event(), []

def hold():
    lock.hold(float("inf"), lambda: (inside.set(), may_end.wait()))

def start():
    threads.append(threading.Thread(target=hold))
    threads[0].start()

os.register_at_fork(after_in_child=start)
child = os.fork()
if not child:
    inside.wait()
    freed = lock.free_from_ended_thread()
    may_end.set()
    threads[0].join()
    os._exit(freed)
print(os.waitpid(child, 0)[1])
"""


def test_what_a_thread_of_a_forks_hook_owns_is_not_taken_over():
    """It lives, though PyPy does not show its frames; so it is with the loop of a child."""
    assert run(THREAD_OF_A_HOOK) == "0\n"


def test_what_was_deferred_is_done_after_it_in_order(lock):
    done = []

    def defer(what):
        lock.deferred.append(lambda: lock.hold(0, done.append, what))  # each takes it anew

    def work():
        defer("first")
        defer("second")
        assert done == []

    lock.hold(FOREVER, work)
    assert done == ["first", "second"]


def test_what_was_deferred_is_done_also_when_the_work_raises(lock):
    done = []

    def work():
        lock.deferred.append(lambda: done.append(1))
        raise LookupError

    with pytest.raises(LookupError):
        lock.hold(FOREVER, work)
    assert done == [1]


def test_what_was_deferred_and_fails_is_logged_and_the_next_is_done(lock, caplog):
    done = []
    lock.deferred += [lambda: {}["missing"], lambda: done.append(1)]
    lock.hold(FOREVER, int)
    assert done == [1]
    assert "is dropped: 'missing'" in caplog.text


def test_what_was_deferred_and_is_interrupted_is_done_by_the_next_call(lock):
    done = []

    def todo():
        if not done:
            done.append("interrupted")
            raise KeyboardInterrupt
        done.append("done")

    lock.deferred.append(todo)
    with pytest.raises(KeyboardInterrupt):
        lock.hold(FOREVER, int)
    lock.hold(FOREVER, int)
    assert done == ["interrupted", "done"]
    assert not lock.deferred


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_signals_at_once_leave_it_free(lock, count):
    """G5: each raises during the cleaning up after the one before."""
    with raising() as late:
        assert late.ends(lambda: lock.hold(FOREVER, come_at_once, count))
        assert not lock.owner
