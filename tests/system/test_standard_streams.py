"""A process whose standard streams are closed: nothing of a bus takes their place."""

from __future__ import annotations

import contextlib
import errno
import os
import select

import pytest

import stdevents


def close_streams():
    for number in range(3):
        with contextlib.suppress(OSError):
            os.close(number)


def taken():
    """Which of the numbers of the standard streams are open files."""
    found = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError as error:
            assert error.errno == errno.EBADF
        else:
            found.append(number)
    return found


def opened(bus, name):
    mine = stdevents.Bus(f"{name}-mine", interval=0.01)
    mine.post("test", "event", unique="key")
    mine.workers()
    found = taken()
    mine.close()
    return found


def joined(bus, name):
    bus.close()
    mine = stdevents.Bus(name, interval=0)
    mine.workers()
    return taken()


def waited_for(bus, name):
    if hasattr(select, "epoll"):
        bus.fileno()
    return taken()


def forked(bus, name):
    """Of a child whose parent has closed its own."""
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return taken()
    bus.post("test", "event")
    bus.configure(interval=0.01)
    os._exit(len(taken()))


@pytest.mark.parametrize("do", [opened, joined, waited_for, forked])
def test_no_file_of_a_bus_gets_the_number_of_a_standard_stream(bus, name, fork, do):
    """DESIGN 4: a `print` would go over the header of the memory."""

    def work(parent):
        close_streams()
        return do(bus, name)

    assert fork(work).result() == []


def test_what_such_a_process_prints_harms_no_bus(name, fork):
    """G2: not by Python, nor by C code that writes to the number itself."""

    def work(parent):
        close_streams()
        bus = stdevents.Bus(name, interval=0)
        for number in (1, 2):
            with contextlib.suppress(OSError):
                os.write(number, b"over the header" * 100)
        parent.tell()
        parent.hear()
        bus.close()

    child = fork(work)
    child.hear()
    stdevents.Bus(name, interval=0).close()
    child.say()
    child.result()
