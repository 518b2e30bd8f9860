"""`lead`: at most one worker leads a task, and the next one that asks when it is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from children import ChildOfC, threads_are_ours
from inside import (
    lead_files_of,
    lead_number_of,
    remove_folder,
    remove_memory,
    system_calls_of_lead,
    under_lock,
    when_a_lead_is_locked,
)
from steps import interrupt
from waiting import wait_until_in

import stdevents

TASK = "cleaner"


def ask_when_told(parent, bus, name, **options):
    """Be another worker, that does what it hears, "lead", "give up" or "close", until "leave"."""
    bus.close()
    other = stdevents.Bus(name, interval=0, **options)
    parent.tell("open")
    while True:
        heard = parent.hear()
        if heard == "leave":
            break
        if heard == "close":
            parent.tell(other.close())
        else:
            parent.tell(other.lead(TASK, give_up=heard == "give up"))
    other.close()


@pytest.fixture
def worker(bus, name, fork):
    """`worker()` is another worker, that does what it is told."""
    children = []

    def make(**options):
        child = fork(lambda parent: ask_when_told(parent, bus, name, **options))
        assert child.hear() == "open"
        children.append(child)
        return child

    yield make
    for child in children:
        if child.status is None:
            child.say("leave")
            child.wait()


def asks(child, what="lead"):
    child.say(what)
    return child.hear()


# -- at most one -----------------------------------------------------------------------------------


def test_one_leads_and_stays_the_leader(bus, worker):
    """DESIGN 3."""
    others = [worker(), worker()]
    assert bus.lead(TASK)
    assert not any(asks(child) for child in others)
    assert bus.lead(TASK)


def test_each_task_has_a_leader_of_its_own(bus, worker):
    other = worker()
    assert asks(other)
    assert bus.lead("another") and bus.lead("mail/ünïcode\udc80 \n" * 99)
    assert not bus.lead(TASK)


def test_two_threads_of_a_worker_ask_at_once(bus, monkeypatch):
    """Both are told that it leads: neither sees the other's half done ask."""
    outcomes = []
    second = threading.Thread(target=lambda: outcomes.append(bus.lead(TASK)))

    def ask_as_well():
        second.start()
        wait_until_in(second, "_wait_for_thread")

    when_a_lead_is_locked(monkeypatch, after=ask_as_well)
    assert bus.lead(TASK)
    second.join()
    assert outcomes == [True]


@pytest.mark.parametrize("end", ["kill", "give up", "close", "leave"])
def test_where_it_ends_the_next_that_asks_leads(bus, worker, end):
    """G5: at once, whatever the leader dies of."""
    leader, other = worker(), worker()
    assert asks(leader) and not bus.lead(TASK) and not asks(other)
    if end == "kill":
        leader.kill()
    elif end == "leave":
        leader.say("leave")
        leader.wait()
    else:
        assert not asks(leader, end)
    assert bus.lead(TASK)
    assert not asks(other)
    if end == "give up":
        assert not asks(leader)


def test_what_is_given_up_leaves_no_file(bus, name, worker):
    """However many tasks there are in the life of a bus; what others lead is theirs."""
    other = worker()
    assert bus.lead(TASK)
    for number in range(3):
        assert bus.lead(f"task {number}")
        bus.lead(f"task {number}", give_up=True)
    assert len(lead_files_of(name)) == 1
    os.unlink(lead_files_of(name)[0])  # by no worker
    assert asks(other)
    bus.lead(TASK, give_up=True)
    assert len(lead_files_of(name)) == 1 and not bus.lead(TASK)


def test_after_a_close_it_leads_nothing(bus, name, worker):
    other = worker()
    assert bus.lead(TASK)
    bus.close()
    assert asks(other)
    bus.configure(name, interval=0)
    assert not bus.lead(TASK)


def test_to_give_up_what_one_does_not_lead_is_no_error(bus, worker):
    leader = worker()
    assert asks(leader)
    assert bus.lead(TASK, give_up=True) is False
    assert bus.lead("nobody's", give_up=True) is False
    assert not bus.lead(TASK)


def test_a_stopped_leader_stays_the_leader(bus, worker):
    leader = worker()
    assert asks(leader)
    under_lock(bus, leader.stop)  # else it may be in it
    assert not bus.lead(TASK)
    leader.go_on()
    assert asks(leader)


def test_a_listener_never_leads(bus, worker):
    listener = worker(role="listener")
    assert not asks(listener)
    assert bus.lead(TASK)


# -- forks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [False, True], ids=["fork", "fork in C"])
def test_a_forked_child_does_not_inherit_the_lead(bus, fork, watchdog, silent):
    """G7: it asks for itself, and the lead is not lost by its end, nor by its giving up."""

    def work(parent):
        return bus.lead(TASK), bus.lead(TASK, give_up=True), bus.lead(TASK)

    assert bus.lead(TASK)
    child = ChildOfC(work) if silent else fork(work)
    assert child.result() == (False, False, False)
    assert bus.lead(TASK)


def test_a_child_does_not_keep_the_lead_of_a_leader_that_ends(bus, name, fork):
    """Also if it was forked while its parent led, and makes no call."""

    ours, childs = socket.socketpair()

    def lead_and_fork(parent):
        ours.close()
        bus.close()
        leader = stdevents.Bus(name, interval=0)
        assert leader.lead(TASK)
        if not os.fork():
            childs.send(b"!")
            childs.recv(1)  # until nobody has the other end: the test is over
            os._exit(0)
        parent.tell()
        parent.hear()

    leader = fork(lead_and_fork)
    childs.close()
    leader.hear()
    assert ours.recv(1) == b"!"
    assert not bus.lead(TASK)
    leader.kill()
    with ours:
        assert bus.lead(TASK)
        ours.shutdown(socket.SHUT_WR)
        assert ours.recv(1) == b""
    while len(bus.workers()) > 1:  # until the child is dead
        pass


@threads_are_ours
def test_a_program_that_the_leader_starts_does_not_keep_the_lead(bus, fork, name):
    """Exec closes its files."""

    def lead_and_start(parent):
        bus.close()
        leader = stdevents.Bus(name, interval=0)
        assert leader.lead(TASK)
        program = subprocess.Popen(
            [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,
        )
        program.stdout.readline()
        parent.tell(program.pid)
        parent.hear()

    leader = fork(lead_and_start)
    program = leader.hear()
    leader.kill()
    try:
        assert bus.lead(TASK)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(program, signal.SIGKILL)


# -- lost ground -----------------------------------------------------------------------------------


def test_removal_of_the_bus_is_learned_before_the_next_true(bus, name, worker, caplog):
    """DESIGN 3: whoever leads on the bus that takes its place, it is one."""
    old = worker()
    assert asks(old) and not bus.lead(TASK)
    remove_folder(name)
    remove_memory(name)
    assert bus.lead(TASK)
    assert not asks(old)
    assert bus.lead(TASK)


def test_a_file_of_a_task_that_was_removed_is_no_lead(bus, name, worker):
    other = worker()
    assert bus.lead(TASK)
    [path] = lead_files_of(name)
    os.unlink(path)
    assert asks(other)
    assert not bus.lead(TASK)
    assert asks(other)


def test_a_file_that_was_closed_under_it_is_no_lead(bus, worker):
    """Nor is another file that got its number."""
    other = worker()
    assert bus.lead(TASK)
    number = lead_number_of(bus, TASK)
    os.close(number)
    assert os.open(os.devnull, os.O_RDONLY) == number
    assert asks(other)
    assert not bus.lead(TASK)
    os.close(number)  # it is still open: not ours, so not closed by us


def test_a_file_that_is_removed_before_it_is_locked_is_no_lead(bus, name, worker, monkeypatch):
    """Between the opening and the locking: another one may lead by the file that took its place."""
    other = worker()
    when_a_lead_is_locked(
        monkeypatch, before=lambda: [os.unlink(path) for path in lead_files_of(name)]
    )
    assert bus.lead(TASK)
    assert not asks(other)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_ask_that_is_interrupted_leaves_no_lead_behind(bus, worker, monkeypatch, when):
    """G5: else nobody could lead until that process ends."""
    other = worker()
    when_a_lead_is_locked(monkeypatch, **{when: interrupt})
    with pytest.raises(KeyboardInterrupt):
        bus.lead(TASK)
    assert bus.lead(TASK)
    assert bus.lead(TASK, give_up=True) is False
    assert asks(other)


def test_the_last_one_out_removes_the_files(bus, name, worker):
    """G9: the fixture `name` looks."""
    child = worker()
    assert bus.lead(TASK) and asks(child) is False
    assert len(lead_files_of(name)) == 1
    child.say("leave")
    child.wait()
    bus.close()


# -- the call --------------------------------------------------------------------------------------


def test_asked_again_a_leader_makes_two_system_calls(bus, monkeypatch):
    assert bus.lead(TASK)
    calls = system_calls_of_lead(monkeypatch)
    assert bus.lead(TASK)
    assert sorted(calls) == ["fstat", "lseek"]


@pytest.mark.parametrize(("task", "error"), [("", ValueError), (1, TypeError), (None, TypeError)])
def test_what_is_no_task_is_refused(bus, task, error):
    with pytest.raises(error, match="task"):
        bus.lead(task)


def test_a_poster_cannot_lead(worker, bus, name):
    other = worker()
    bus.close()
    with contextlib.closing(stdevents.Bus(name, role="poster")) as poster:
        for give_up in (False, True):
            with pytest.raises(stdevents.StdeventsError, match="only posts"):
                poster.lead(TASK, give_up)
    assert asks(other)


def test_a_closed_bus_leads_nothing():
    with pytest.raises(stdevents.NotConfigured):
        stdevents.Bus().lead(TASK)


def test_a_handler_may_ask(bus):
    outcomes = []
    bus.register(lambda *_: outcomes.append(bus.lead(TASK)), "test")
    bus.post("test", "event")
    bus.poll()
    assert outcomes == [True]


def test_the_function_is_the_method_of_the_process_wide_bus(name):
    stdevents.configure(name, interval=0)
    assert stdevents.lead(TASK)
    stdevents.close()
