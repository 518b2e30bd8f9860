"""Where a bus lives, and what lies there: for the tests of what it finds there."""

from __future__ import annotations

import contextlib
import os

import pytest
from inside import folder_of, memory_file_of
from remains import WORKER, running

import stdevents


@pytest.fixture
def folder(name):
    return folder_of(name)


@pytest.fixture
def memory(name):
    return memory_file_of(name)


@pytest.fixture
def stale(name, folder, memory):
    """The memory of a bus whose workers are all dead; folder and files are there as well."""
    with contextlib.closing(stdevents.Bus(name, interval=0)) as bus:
        bus.post("test", "of the dead")
        with open(memory, "rb") as file:
            content = file.read()
    os.mkdir(folder, 0o700)
    for path in (f"{folder}/lock", f"{folder}/worker.0", memory):
        with open(path, "xb") as file:
            file.write(content if path == memory else b"")
    return memory


@pytest.fixture
def worker(name):
    """Has the worker of another process post, and returns what it has handled so far."""
    with running(WORKER, name) as process:

        def post(what):
            process.stdin.write(f"{what}\n")
            process.stdin.flush()
            return process.stdout.readline().split()

        yield post
