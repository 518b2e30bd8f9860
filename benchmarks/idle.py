"""The CPU that 8 sleeping workers use, beside 8 sleeping processes, at the same time.

And beside 8 processes with a thread that does nothing but wake once an interval, since that is
the least that a loop can do.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time

from common import Figure, children, main, name

import stdevents

WORKERS = 8
SECONDS = {"tiny": 0.2, "quick": 10, "full": 30}


def wake():
    """Wake once an interval, as a loop that has nothing to do."""
    epoll = select.epoll()
    while True:
        epoll.poll(1)


def sleep(line, kind, bus_name, number):
    """Sleep, as one of a kind, and tell the CPU seconds that took."""
    if kind == "waking":
        threading.Thread(target=wake, daemon=True).start()
    elif kind == "worker":
        stdevents.configure(bus_name, interval=1)
    line.tell()
    line.hear()
    before = time.process_time()
    time.sleep(line.hear())
    line.tell(time.process_time() - before)
    line.hear()


def measure(size):
    """The difference, in percent of one core; all kinds at once, so that all have one machine."""
    seconds, bus_name = SECONDS[size], name()
    with contextlib.ExitStack() as stack:
        groups = [
            stack.enter_context(children(WORKERS, sleep, kind, bus_name))
            for kind in ("asleep", "waking", "worker")
        ]
        time.sleep(0.2)  # until the workers have handled each other's `started`
        for process in sum(groups, []):
            process.say()
            process.say(seconds)
        asleep, waking, workers = (
            100 * sum(process.hear() for process in group) / seconds for group in groups
        )
    theirs = f"asleep {asleep:.3f} %, waking once a second {waking:.3f} %"
    used = workers - asleep
    what = f"% of a core, {WORKERS} idle workers, for {seconds:g} s"
    yield Figure(what, "processes asleep (difference)", used, used, 0.05,
                 ours=f"{workers:.3f} %", theirs=theirs)  # fmt: skip


if __name__ == "__main__":
    main(measure, __doc__)
