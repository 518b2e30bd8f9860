"""What tests wait for: a time to pass, a thread to come somewhere."""

from __future__ import annotations

import sys
import threading
import time

LONG = 60  # seconds until a wait that should end at once is given up


def let_pass(seconds):
    """Wait until at least so many seconds have passed on the clock that counts for `timeout`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() <= deadline:
        time.sleep(max(0.0, deadline - time.monotonic()))


def loop_threads(name):
    return [thread for thread in threading.enumerate() if thread.name == f"stdevents {name}"]


def wait_until_in(thread, function):
    """Wait until `thread` has come to a function of that name, or has ended."""
    deadline = time.monotonic() + LONG
    while thread.is_alive() and time.monotonic() < deadline:
        frame = sys._current_frames().get(thread.ident)
        while frame is not None:
            if frame.f_code.co_name == function:
                return
            frame = frame.f_back
        time.sleep(0)
