"""What tests wait for: a time to pass, a thread to come somewhere."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import time

LONG = 60  # seconds until a wait that should end at once is given up
# Times that threads do something to meet in it: without the GIL they truly do it at once.
OFTEN = 2_000 if sysconfig.get_config_var("Py_GIL_DISABLED") else 200


def let_pass(seconds):
    """Wait until at least so many seconds have passed on the clock that counts for `timeout`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() <= deadline:
        time.sleep(max(0.0, deadline - time.monotonic()))


def loop_threads(name):
    return [thread for thread in threading.enumerate() if thread.name == f"stdevents {name}"]


def wait_for_the_end_of(threads):
    """Wait until the system, too, has none of them: a little later than `join` says."""
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive(), f"{thread} goes on"
        while os.path.exists(f"/proc/self/task/{thread.native_id}"):
            time.sleep(0)


def wait_until_in(thread, function):
    """Wait until `thread` has come to a function of that name, or has ended."""
    deadline = time.monotonic() + LONG
    while thread.is_alive() and time.monotonic() < deadline:
        frame = sys._current_frames().get(thread.ident)
        if frame is None and function == "wait" and is_asleep(thread):
            return
        while frame is not None:
            if frame.f_code.co_name == function:
                return
            frame = frame.f_back
        time.sleep(0)


def is_asleep(thread):
    """Has it slept for a while, as a loop does that waits?

    For PyPy, which shows no frames of a thread that a forked child's hook has started.
    """
    before = sleep_of(thread)
    let_pass(0.02)
    return before is not None and sleep_of(thread) == before


def sleep_of(thread):
    """Which sleep of its life the thread is in, as Linux counts; None if it is in none."""
    try:
        with open(f"/proc/self/task/{thread.native_id}/status") as lines:
            status = dict(line.split(":", 1) for line in lines)
    except OSError:  # no Linux, or the thread has just ended
        return None
    return status["voluntary_ctxt_switches"] if "S" in status["State"].split() else None
