"""Signals and the loop's thread: blocked there, but for the time that handlers run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from inside import is_asleep, loop_thread_of
from waiting import LONG

import stdevents

CODE_OF_MASK = (
    "import signal; print(*sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))))"
)


def mask():
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


@pytest.fixture
def blocked():
    """`blocked(*signals)`: this thread blocks these until the end of the test, beside its own."""
    before = mask()
    yield lambda *signals: signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_handler(bus, work):
    """What `work()` returns in a handler that the loop runs."""
    found, done = [], threading.Event()
    handler = bus.register(lambda *_: (found.append(work()), done.set()), "test", "mask")
    try:
        bus.post("test", "mask")
        assert done.wait(LONG)
    finally:
        bus.unregister(handler, "test", "mask")
    return found[0]


def test_a_signal_that_the_main_thread_blocks_stays_pending(name, blocked):
    """DESIGN 5: the loop must not be where the kernel delivers it instead."""
    caught = []
    handler = signal.getsignal(signal.SIGUSR1)
    bus = stdevents.Bus(name, interval=LONG)
    try:
        blocked(signal.SIGUSR1)
        waited = threading.Event()
        while not is_asleep(bus):
            waited.wait(0.001)
        for _ in range(50):
            signal.signal(signal.SIGUSR1, lambda *_: caught.append(1))
            os.kill(os.getpid(), signal.SIGUSR1)
            waited.wait(0.001)
            assert signal.SIGUSR1 in signal.sigpending()
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # which discards it
        assert caught == []
    finally:
        bus.close()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, handler)


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs the /proc of Linux")
def test_a_loop_that_sleeps_blocks_all_signals(name):
    """Also after it has run handlers."""
    bus = stdevents.Bus(name, interval=LONG)
    assert in_handler(bus, mask) == mask()
    waited = threading.Event()
    while not is_asleep(bus):
        waited.wait(0.001)
    with open(f"/proc/self/task/{loop_thread_of(bus).native_id}/status") as lines:
        (line,) = (line for line in lines if line.startswith("SigBlk:"))
    found = int(line.split()[1], 16)
    never = {signal.SIGKILL, signal.SIGSTOP}
    assert [n for n in signal.valid_signals() - never if not found >> (n - 1) & 1] == []
    bus.close()


def test_handlers_run_with_the_signals_that_configure_was_called_with(name, blocked):
    """What they start, as programs, inherits what is blocked."""
    blocked(signal.SIGUSR2)
    bus = stdevents.Bus(name, interval=0.01)
    for _ in range(2):
        assert in_handler(bus, mask) == mask()
    started = in_handler(
        bus, lambda: subprocess.check_output([sys.executable, "-c", CODE_OF_MASK], text=True)
    )
    assert set(map(int, started.split())) == set(map(int, mask()))
    bus.close()


def test_configure_and_poll_leave_the_callers_signals_as_they_are(name, blocked):
    blocked(signal.SIGUSR2)
    before, found = mask(), []
    bus = stdevents.Bus(name, interval=0.01)
    bus.configure(interval=0)
    bus.register(lambda *_: found.append(mask()), "test")
    bus.post("test", "event")
    bus.poll()
    assert found == [before]
    bus.close()
    assert mask() == before


def test_a_signal_handler_that_raises_in_a_handler_ends_no_loop(name, caplog):
    """G5: Python runs it in the main thread, whichever thread the kernel took."""
    bus = stdevents.Bus(name, interval=0.01)
    handler = signal.signal(signal.SIGUSR1, lambda *_: 1 / 0)
    try:
        bus.register(lambda *_: os.kill(os.getpid(), signal.SIGUSR1), "test", "signal")
        with pytest.raises(ZeroDivisionError):
            bus.post("test", "signal")
            threading.Event().wait(LONG)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert in_handler(bus, lambda: "goes on") == "goes on"
    bus.close()
