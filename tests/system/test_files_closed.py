"""Files that are closed under a worker, as by a library that makes a daemon of its process."""

from __future__ import annotations

import fcntl
import os
import threading

import pytest
from inside import (
    folder_of,
    seat_of,
)
from seen import Ear

import stdevents


class Decoys:
    """Files of the program itself, which have got the numbers that were closed."""

    def __init__(self, path, count=20):
        self.paths = [os.path.join(path, str(number)) for number in range(count)]
        flags = os.O_RDWR | os.O_CREAT
        self.numbers = [os.open(decoy, flags) for decoy in self.paths]

    def check(self):
        """They are open, empty, and locked by nobody."""
        for path, number in zip(self.paths, self.numbers):
            assert os.path.samestat(os.fstat(number), os.stat(path))
            with open(path, "rb") as other:
                assert other.read() == b""
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for number in self.numbers:
            os.close(number)


@pytest.mark.parametrize("interval", [0, 0.05])
def test_a_worker_whose_files_were_closed_opens_them_anew(
    no_garbage, bus, fork, name, tmp_path, interval
):
    """G5, G7: it posts and receives; nobody else's file is locked, written to or closed.

    Garbage of earlier tests would: Python tells of a file that it cannot close any more, on a
    standard error that is closed, and a decoy by now.
    """

    def work(parent):
        bus.close()
        mine = stdevents.configure(name, interval=interval)
        ear = Ear(mine)
        parent.close_other_files()
        with Decoys(tmp_path) as decoys:
            mine.post("test", "from child")
            decoys.check()
            parent.tell(len(mine.workers()))
            if interval:
                ear.wait_for("to child")
            else:
                parent.hear()
                mine.poll()
            decoys.check()
            mine.close()
            decoys.check()
        return ear.seen

    ear = Ear(bus)
    child = fork(work)
    assert child.hear() == 2
    bus.poll()
    assert ear.seen == [("from child", None)]
    bus.post("test", "to child")
    if not interval:
        child.say()
    assert child.result() == [("from child", None), ("to child", None)]
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]
    assert bus.stats().lost == 0


def test_a_loop_whose_files_were_closed_notices_by_itself(no_garbage, bus, fork, name, tmp_path):
    """G8: and a post wakes it again, as before."""

    def work(parent):
        bus.close()
        mine = stdevents.configure(name, interval=0.05)
        ear = Ear(mine)
        before = seat_of(mine)
        parent.close_other_files()
        with Decoys(tmp_path) as decoys:
            while seat_of(mine) in (before, None):
                threading.Event().wait(0.01)
            mine.configure(interval=1000)
            parent.tell()
            ear.wait_for("news")
            decoys.check()
            mine.close()
        return ear.seen

    child = fork(work)
    child.hear()
    bus.post("test", "news")
    assert child.result() == [("news", None)]


def test_a_worker_whose_files_were_closed_leaves_nothing_behind(no_garbage, name, fork, tmp_path):
    """G9: though it notices only when it leaves."""

    def work(parent):
        mine = stdevents.configure(name, interval=0)
        parent.close_other_files()
        with Decoys(tmp_path) as decoys:
            mine.close()
            decoys.check()

    fork(work).result()
    assert not os.path.exists(folder_of(name))


def test_a_claim_goes_on_after_the_files_were_closed(bus, fork, name):
    """G4."""

    def work(parent):
        bus.close()
        mine = stdevents.configure(name, interval=0)
        ear = Ear(mine)
        mine.post("test", "once", 1, unique="key")
        parent.close_other_files()
        mine.poll()
        mine.close()
        return ear.seen

    assert fork(work).result() == [("once", 1)]


def test_all_threads_that_post_while_the_files_are_closed_go_on(bus, fork, name):
    """G2: and each of their events is there, once."""
    threads, events = 4, 200

    def work(parent):
        bus.close()
        mine = stdevents.configure(name, interval=0, wait_max=30)
        begun = threading.Barrier(threads + 1)
        failed = []

        def post(number):
            begun.wait()
            try:
                for index in range(events):
                    mine.post("test", "event", [number, index])
            except BaseException as error:
                failed.append(error)

        posting = [threading.Thread(target=post, args=(number,)) for number in range(threads)]
        for thread in posting:
            thread.start()
        begun.wait()
        parent.close_other_files()
        for thread in posting:
            thread.join()
        mine.close()
        return list(map(repr, failed))

    ear = Ear(bus)
    assert fork(work).result() == []
    bus.poll()
    posted = [tuple(data) for event, data in ear.seen if event == "event"]
    assert sorted(posted) == [(one, two) for one in range(threads) for two in range(events)]
