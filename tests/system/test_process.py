"""The mark by which a process knows itself from its forks."""

from __future__ import annotations

import os
import sys

import pytest
from children import Child, ChildOfC
from inside import Forked, Mark, ignore_wiping_on_fork, refuse_wiping_on_fork

import stdevents

each_mark = pytest.mark.parametrize(
    "refused", [False, True], ids=["wiped by the kernel", "by the pid"]
)


@each_mark
@pytest.mark.parametrize("kind", [Child, ChildOfC])
def test_it_is_1_in_its_process_and_0_in_every_fork(monkeypatch, watchdog, kind, refused):
    """G7: with the hooks, or without."""
    if refused:
        refuse_wiping_on_fork(monkeypatch)
    mark = Mark()
    mark.check()

    def work(parent):
        with pytest.raises(Forked):
            mark.check()
        own = Mark()
        own.check()
        return mark.word[0], own.word[0], kind(lambda _: (mark.word[0], own.word[0])).result()

    assert kind(work).result() == (0, 1, (0, 0))
    assert mark.word[0] == 1


def test_a_kernel_that_only_says_that_it_wipes_it_is_helped_by_the_hooks(monkeypatch, name, fork):
    """G7: so the child is a worker of its own."""
    ignore_wiping_on_fork(monkeypatch)
    bus = stdevents.Bus(name, interval=0)

    def work(parent):
        bus.post("test", "event")
        return [worker.pid for worker in bus.workers()]

    child = fork(work)
    assert child.result() == [os.getpid(), child.pid]
    bus.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux wipes memory")
def test_where_the_kernel_wipes_it_no_pid_is_asked_for(monkeypatch):
    """G8: that would be a system call for each taking of the lock."""
    mark = Mark()
    asked = []
    monkeypatch.setattr("os.getpid", lambda: asked.append(1) or 1)
    mark.check()
    assert asked == []
    refuse_wiping_on_fork(monkeypatch)
    Mark().check()
    assert asked
