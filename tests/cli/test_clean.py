"""The command `clean`."""

from __future__ import annotations

import os
import sys

import pytest
from inside import (
    clean_all,
    lock_file_of,
    make_folder,
    memory_file_of,
    memory_name_of,
    names,
    remains_of,
    remove_folder,
    remove_lost_memory,
)

pytestmark = pytest.mark.usefixtures("interruptible")


def test_clean_leaves_a_live_bus_alone(called, name, worker):
    a_worker = worker()

    assert called("clean", name) == (0, f"{name}: in use, left alone\n", "")
    a_worker.post("test", "tick")
    assert a_worker.poll() == [("tick", None)]


def test_clean_removes_what_killed_workers_left(called, name, worker):
    """G9."""
    workers = [worker(), worker()]
    for a_worker in workers:
        a_worker.kill()
    assert len(remains_of(name)) == 2

    assert called("clean", name) == (0, f"{name}: removed\n", "")
    assert remains_of(name) == []


def test_clean_removes_a_folder_that_was_only_just_made(called, name):
    make_folder(name)

    assert called("clean", name) == (0, f"{name}: removed\n", "")


def test_clean_says_what_is_in_the_way(called, name):
    """A FIFO where the lock belongs: it cannot be locked, so nothing is known of the bus."""
    make_folder(name)
    lock = lock_file_of(name)
    os.mkfifo(lock)

    status, out, err = called("clean", name)
    os.unlink(lock)
    remove_folder(name)
    what = f"{lock} is in the way: it is not a plain file; remove it"
    assert (status, out, err) == (1, "", f"stdevents: bus {name!r}: {what}\n")


def test_clean_without_a_name_takes_all_that_is_there(name, worker, monkeypatch, capsys):
    worker()
    stale = f"{name}-stale"
    worker(stale).kill()
    assert {name, stale} <= set(names())
    # The buses of other tests are none of ours.
    assert clean_all(monkeypatch, [name, stale]) == 0
    assert capsys.readouterr().out == f"{name}: in use, left alone\n{stale}: removed\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="segments cannot be listed here")
def test_clean_removes_a_segment_that_has_lost_its_folder(name, worker, monkeypatch):
    worker().kill()
    remove_folder(name)
    path = memory_file_of(name)
    assert remove_lost_memory(monkeypatch, path) == [path]
    assert remains_of(name) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="segments cannot be listed here")
def test_clean_leaves_a_segment_alone_whose_folder_is_there(name, worker, monkeypatch):
    worker()
    assert remove_lost_memory(monkeypatch, memory_file_of(name)) == []


def test_the_names_of_buses_are_those_of_folders(name, worker):
    worker()
    segment = memory_name_of(name)

    assert name in names()
    assert not [other for other in names() if segment.endswith(other)]
