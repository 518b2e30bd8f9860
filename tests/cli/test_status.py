"""The command `status`."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys

import pytest
from commands import wait_until_open
from inside import (
    clean,
    command_of,
    lock_file_of,
    status,
    status_of_dead,
    watch_pause_of,
)

import stdevents

pytestmark = pytest.mark.usefixtures("interruptible")

OFTEN = ("--every", "0.05")


def test_status_as_json(called, name, worker):
    ahead, behind = worker(size="4k"), worker()
    for _ in range(3):
        ahead.post("test", "tick")
    ahead.poll()
    status, out, err = called("status", name, "--json")
    state = json.loads(out)

    assert (status, err) == (0, "")
    assert (state["name"], state["size"], state["last_id"]) == (name, 4096, 5)
    assert (state["events"], state["event_slots"]) == (5, 16)
    assert 0 < state["used"] < 4096
    first, second = state["workers"]
    assert (first["pid"], first["position"], first["lag"]) == (ahead.pid, 5, 0)
    assert (second["pid"], second["position"], second["lag"]) == (behind.pid, 2, 3)
    assert first["behind"] == 0 < second["behind"] == pytest.approx(3 / 16, abs=0.001)


def test_status_tells_who_only_listens(called, name, worker):
    """DESIGN 3: takes no event with `unique`, and is asked nothing."""
    worker(), worker(role="listener")
    state = json.loads(called("status", name, "--json")[1])
    assert [row["role"] for row in state["workers"]] == ["worker", "listener"]
    assert "\n  workers  2, of which 1 only listens\n" in called("status", name)[1]
    worker(role="listener")
    assert "\n  workers  3, of which 2 only listen\n" in called("status", name)[1]


def test_status_tells_which_worker_is_lapped(called, name, worker):
    ahead, behind = worker(size="4k"), worker()
    for _ in range(20):
        ahead.post("test", "tick")
    ahead.poll()
    out = called("status", name)[1]

    (line,) = [line for line in out.splitlines() if f" {behind.pid} " in line]
    assert "100%" in line
    assert line.split()[-6:-1] == ["100%", "losing", "20", "0", "0"]  # 15 are there still
    (line,) = [line for line in out.splitlines() if f" {ahead.pid} " in line]
    assert "losing" not in line
    assert "  workers  2, 1 losing events\n  lost     0 so far, up to 5 to come\n" in out
    assert "\x1b" not in out


@pytest.fixture
def listed(name, worker, monkeypatch, capsys):
    """`listed(...)` is what `status` says of a live bus, a stale one and a locked one."""
    worker(), worker()
    stale, locked = f"{name}-stale", f"{name}-lock"
    worker(stale).kill()
    bus = stdevents.Bus(locked, interval=0)
    lock = os.open(lock_file_of(locked), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # The buses of other tests are none of ours.

    def listed(as_json):
        returned = status(monkeypatch, [name, stale, locked], as_json)
        return returned, capsys.readouterr().out.splitlines()

    yield listed
    os.close(lock)
    bus.close()
    assert clean(stale)


def test_status_without_a_name_lists_the_buses(listed, name):
    status, lines = listed(as_json=False)
    live, stale, locked = lines

    assert live == f"{name}        2 workers"
    assert stale == f"{name}-stale  no live worker; left behind by killed ones"
    assert locked.startswith(f"{name}-lock   bus '{name}-lock': its lock could not be taken ")
    assert status == 1  # something is wrong with one of them


def test_status_without_a_name_lists_the_buses_as_json(listed, name):
    status, lines = listed(as_json=True)
    live, stale, locked = map(json.loads, lines)

    assert (live["name"], live["size"], len(live["workers"])) == (name, 1 << 20, 2)
    assert stale == {"name": f"{name}-stale", "error": status_of_dead(), "workers": []}
    assert (locked["name"], locked["workers"]) == (f"{name}-lock", [])
    assert "its lock could not be taken" in locked["error"]
    assert status == 1


def test_all_is_well_with_buses_that_are_live_or_stale(name, worker, monkeypatch):
    worker()
    assert status(monkeypatch, [name, f"{name}-gone"], as_json=False) == 0


def test_the_list_of_all_buses_has_the_one_that_is_open(called, name, worker):
    worker()

    assert f"{name} 1 worker" in [
        " ".join(line.split()) for line in called("status")[1].splitlines()
    ]


def test_a_watch_without_a_name_shows_all_buses_as_they_come(command, name, worker):
    worker()
    watch = command("status", *OFTEN, "--json")

    def names_until(wanted):
        while json.loads(watch.line())["name"] != wanted:
            pass

    names_until(name)
    with stdevents.Bus(f"{name}-2", interval=0):
        names_until(f"{name}-2")
    assert watch.signal(signal.SIGINT).end()[::2] == (0, "")


@pytest.mark.parametrize(
    ("options", "pause"),
    [
        ([], None),
        (["--watch"], 1),
        (["--every", "2.5"], 2.5),
        (["--watch", "--every", "7"], 7),
        (["--every", "7", "--watch"], 7),
    ],
)
def test_a_watch_looks_every_second_or_as_often_as_is_wanted(
    bus, name, monkeypatch, options, pause
):
    assert watch_pause_of(monkeypatch, "status", name, *options) == pause


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "86401", "often", ""])
def test_what_is_no_time_between_two_looks_is_refused(called, wrong):
    status, out, err = called("status", "--every", wrong)
    assert (status, out) == (2, "")
    assert f"--every: {wrong!r} is not more than 0 seconds, and a day (86400) at most" in err


def test_a_watch_waits_for_a_bus_that_is_not_there_yet(command, name, worker):
    watch = command("status", name, *OFTEN, "--json")
    first = json.loads(watch.line())
    assert first["workers"] == []
    assert first["error"].startswith("not there yet: it exists while a worker has it open; wait")
    worker()
    while not json.loads(watch.line())["workers"]:
        pass
    assert watch.signal(signal.SIGINT).end()[::2] == (0, "")


def test_a_watch_tells_what_a_worker_had_no_handler_for_and_what_it_lost(called, name, worker):
    a_worker = worker(size="4k")
    for source, event in (("test", "tick"), ("tset", "tick"), ("other", "tick")):
        a_worker.post(source, event)
    a_worker.poll()
    for _ in range(20):
        a_worker.post("test", "tick", "x" * 400)
    a_worker.poll()
    (row,) = json.loads(called("status", name, "--json")[1])["workers"]
    lost = row["lost"]
    assert (row["unhandled"], row["losing"]) == (2, 0)
    assert 10 <= lost < 20
    assert f"\n  lost     {lost} so far\n" in called("status", name)[1]
    assert row["command"] == command_of(a_worker.pid)


def test_status_can_be_shown_where_there_is_only_ascii(command, name, worker):
    worker()
    status, out, err = command("status", name, PYTHONIOENCODING="ascii").end()

    assert (status, err) == (0, "")
    assert out.isascii()


def test_a_watch_sees_the_bus_go_and_come_back(command, name, worker):
    first = worker()
    watch = command("status", name, *OFTEN, "--json")
    epochs = [json.loads(watch.line())["epoch"]]
    first.leave()
    while json.loads(watch.line())["workers"]:
        pass
    second = worker()
    while True:
        state = json.loads(watch.line())
        if state["workers"]:
            break
    epochs.append(state["epoch"])

    assert state["workers"][0]["pid"] == second.pid
    assert epochs[0] != epochs[1]
    status, _, err = watch.signal(signal.SIGINT).end()
    assert (status, err) == (0, "")


def test_a_bus_whose_lock_is_held_is_in_use_and_a_watch_goes_on(command, called, name, worker):
    """G5: as by a worker that was stopped in the middle of a post."""
    worker()
    watch = command("status", name, *OFTEN, "--json")
    assert json.loads(watch.line())["workers"]
    lock = os.open(lock_file_of(name), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # All at once: each waits for the lock.
    waiting = [command("status", name), command("check", name), command("post", name, "a", "b")]
    interrupted = command("status", name)
    wait_until_open(interrupted.process, lock_file_of(name))
    assert interrupted.signal(signal.SIGINT).end() == (130, "", ""), "one look that was not had"
    for each in waiting:
        status, out, err = each.end()
        assert (status, out) == (1, "")
        assert err.startswith(f"stdevents: bus {name!r}: its lock could not be taken ")
        holder = f"process {os.getpid()}" if sys.platform.startswith("linux") else "a worker"
        assert f"; {holder} holds it" in err
    assert called("clean", name) == (0, f"{name}: in use, left alone\n", "")
    while "error" not in json.loads(watch.line()):
        pass
    os.close(lock)
    while "error" in json.loads(watch.line()):
        pass
    assert watch.signal(signal.SIGINT).end()[::2] == (0, "")
