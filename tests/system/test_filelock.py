"""The file lock alone: between processes, threads, calls of one thread, and forks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading

import pytest
from inside import FilesClosed, Forked, Inside, clock_of_pauses, file_lock, number_of
from outside import come_at_once, raising

import stdevents


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def lock(path):
    lock = file_lock(path)
    yield lock
    with contextlib.suppress(OSError):
        os.close(number_of(lock))


@contextlib.contextmanager
def held_elsewhere(path):
    """Within this, another open file of the same path has the lock, as another process would."""
    other = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(other)


def is_free(path):
    """Could another process have it?"""
    try:
        with held_elsewhere(path):
            return True
    except BlockingIOError:
        return False


def leave_over(lock):
    """As after exceptions that cut off all cleaning up: the calling thread has it."""
    lock.owner["thread"] = threading.get_ident()
    fcntl.flock(number_of(lock), fcntl.LOCK_EX)


def test_work_is_done_under_it_and_its_result_returned(lock, path):
    assert lock.hold(lambda number: (number, is_free(path)), 7) == (7, False)
    assert is_free(path)
    assert not lock.owner


def test_an_exception_of_the_work_frees_it(lock, path):
    with pytest.raises(LookupError):
        lock.hold({}.__getitem__, "missing")
    assert is_free(path)
    assert not lock.owner


@pytest.mark.parametrize("wait_interval", [0.001, 600])
def test_who_waits_for_another_process_gives_up_after_wait_max(path, monkeypatch, wait_interval):
    """G5: not later, however long the pauses may be that are set for other waits."""
    lock = file_lock(path, wait_max=0.1234, wait_interval=wait_interval)
    clock, done = clock_of_pauses(monkeypatch), []
    begun = clock.now
    with held_elsewhere(path), pytest.raises(stdevents.LockTimeout, match="wait_max=0.1234 s"):
        lock.hold(done.append, 1)
    assert clock.now == pytest.approx(begun + 0.1234)
    assert max(clock.pauses) <= 0.001, "a busy lock is free for some microseconds at a time"
    assert done == []
    assert not lock.owner
    os.close(number_of(lock))


def test_who_waits_for_another_process_gets_it_when_it_is_free(path, monkeypatch):
    lock = file_lock(path, wait_max=10)
    clock = clock_of_pauses(monkeypatch)
    with contextlib.ExitStack() as elsewhere:
        elsewhere.enter_context(held_elsewhere(path))
        sleep = clock.sleep

        def free_at_tenth_pause(seconds):
            sleep(seconds)
            if len(clock.pauses) == 10:
                elsewhere.close()

        clock.sleep = free_at_tenth_pause
        assert lock.hold(lambda: is_free(path)) is False
    assert is_free(path)
    os.close(number_of(lock))


def test_a_lock_that_is_free_soon_is_taken_without_a_sleep(path, monkeypatch):
    """Which would last many times as long as others have it."""
    lock = file_lock(path, wait_max=10)
    clock, yields = clock_of_pauses(monkeypatch), []
    with contextlib.ExitStack() as elsewhere:
        elsewhere.enter_context(held_elsewhere(path))

        def free_at_fifth_yield():
            yields.append(None)
            if len(yields) == 5:
                elsewhere.close()

        monkeypatch.setattr("os.sched_yield", free_at_fifth_yield)
        assert lock.hold(lambda: is_free(path)) is False
    assert (len(yields), clock.pauses) == (5, [])
    os.close(number_of(lock))


@pytest.mark.parametrize("another_file", [False, True], ids=["closed", "another file"])
def test_who_waits_while_its_file_is_closed_learns_so(path, monkeypatch, another_file, tmp_path):
    """By a thread that closes the bus, say; and no other file is locked that has its number."""
    lock = file_lock(path, wait_max=10)
    clock, owner = clock_of_pauses(monkeypatch), lock.owner
    number, sleep = number_of(lock), clock.sleep

    def close_at_tenth_pause(seconds):
        sleep(seconds)
        if len(clock.pauses) == 10:
            os.close(number)
            if another_file:
                assert os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR) == number
                fcntl.flock(number, fcntl.LOCK_EX)

    clock.sleep = close_at_tenth_pause
    with held_elsewhere(path), pytest.raises(FilesClosed):
        lock.hold(int)
    assert not owner
    if another_file:
        assert not is_free(tmp_path / "other")
        os.close(number)


def test_threads_exclude_each_other(path):
    lock = file_lock(path, wait_max=60)
    at_work, most = [], []

    def work():
        at_work.append(1)
        most.append(len(at_work))
        at_work.pop()

    def hold():
        for _ in range(200):
            lock.hold(work)

    threads = [threading.Thread(target=hold) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 800
    os.close(number_of(lock))


def test_who_waits_for_another_thread_is_told_that_it_is_one(lock):
    inside, may_end = threading.Event(), threading.Event()
    holder = threading.Thread(target=lock.hold, args=(lambda: (inside.set(), may_end.wait()),))
    holder.start()
    inside.wait()
    try:
        with pytest.raises(stdevents.LockTimeout, match="another thread of this process"):
            lock.hold(int)
        assert lock.owner == {"thread": holder.ident}
    finally:
        may_end.set()
        holder.join()


def test_a_call_inside_is_refused_and_does_nothing(lock, path):
    """DESIGN 5: it would lock what it has, and unlock what the outer call needs."""
    done = []

    def work():
        assert lock.is_inside()
        with pytest.raises(Inside):
            lock.hold(done.append, 1)
        return is_free(path)

    assert lock.hold(work) is False
    assert done == []
    assert not lock.is_inside()


def test_what_was_deferred_takes_it_anew_after_the_release(lock, path):
    done = []

    def todo():
        done.append(("free", is_free(path)))
        done.append(("held", lock.hold(lambda: not is_free(path))))

    lock.hold(lambda: lock.deferred.append(todo))
    assert done == [("free", True), ("held", True)]


def test_however_much_was_deferred_the_stack_is_deep_enough(lock, caplog):
    """Finalisers come in thousands; each of what they left takes the lock, one after the other."""
    done, many = [], 5 * sys.getrecursionlimit()
    lock.hold(lambda: lock.deferred.extend([lambda: lock.hold(done.append, 1)] * many))
    assert len(done) == many
    assert caplog.text == ""


def test_what_was_deferred_is_done_also_when_the_work_raises(lock, path):
    done = []

    def work():
        lock.deferred.append(lambda: done.append(is_free(path)))
        raise LookupError

    with pytest.raises(LookupError):
        lock.hold(work)
    assert done == [True]


def test_what_is_left_over_of_this_thread_is_freed_for_others(lock, path):
    leave_over(lock)
    assert not is_free(path)
    assert not lock.is_inside()
    assert is_free(path)


def test_what_is_left_over_of_this_thread_is_taken_over(lock, path):
    leave_over(lock)
    assert lock.hold(lambda: is_free(path)) is False
    assert is_free(path)


def test_what_an_ended_thread_left_over_is_taken_over(path):
    lock = file_lock(path, wait_max=60)
    thread = threading.Thread(target=leave_over, args=(lock,))
    thread.start()
    thread.join()
    assert lock.hold(lambda: is_free(path)) is False
    assert is_free(path)
    os.close(number_of(lock))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_signals_at_once_leave_it_free_for_other_processes(lock, path, count):
    """G5: each raises during the cleaning up after the one before."""
    with raising() as late:
        assert late.ends(lambda: lock.hold(come_at_once, count))
        assert is_free(path)
        assert not lock.owner


def test_a_number_that_is_another_file_now_is_not_locked(lock, tmp_path):
    """DESIGN 5: as of a program that closed all files, and opened its own."""
    number = number_of(lock)
    os.close(number)
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.dup2(other, number)
    with pytest.raises(FilesClosed) as caught:
        lock.hold(int)
    assert caught.value.errno == errno.EBADF
    assert is_free(tmp_path / "other")
    assert not lock.owner
    os.close(other)


def test_a_fork_of_its_process_takes_nothing(lock, path, fork):
    """G7: its copy is the same open file, which excludes nobody from its parent's lock."""

    def work(parent):
        done = []
        parent.hear()
        with pytest.raises(Forked):
            lock.hold(done.append, 1)
        return done

    child = fork(work)
    assert lock.hold(lambda: (child.say(), child.result(), is_free(path))[1:]) == ([], False), (
        "nor does it unlock what is its parent's"
    )


def test_a_post_that_interrupts_who_keeps_threads_out_is_deferred(path):
    """A signal handler's: as in `hold`, no other thread comes in between."""
    lock = file_lock(path)

    def work():
        with pytest.raises(Inside):
            lock.hold(pytest.fail)
        lock.hold_threads(lambda: order.append("its own"))
        lock.deferred.append(lambda: lock.hold(order.append, "deferred"))
        order.append("work")

    order = []
    lock.hold_threads(work)
    assert order == ["its own", "work", "deferred"]
    assert not lock.owner


def test_who_closes_waits_for_the_thread_that_has_it(path):
    lock = file_lock(path, wait_max=60)
    inside, may_end, order = threading.Event(), threading.Event(), []
    holder = threading.Thread(
        target=lock.hold,
        args=(lambda: (inside.set(), may_end.wait(), order.append("work")),),
    )
    holder.start()
    inside.wait()
    closer = threading.Thread(target=lock.hold_threads, args=(lambda: order.append("close"),))
    closer.start()
    may_end.set()
    holder.join()
    closer.join()
    assert order == ["work", "close"]
    os.close(number_of(lock))
