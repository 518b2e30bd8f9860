"""The CPU that 8 sleeping workers use, beside 8 sleeping processes."""

from __future__ import annotations

import time

from common import Figure, children, main, name

import stdevents

WORKERS = 8
SECONDS = {"tiny": 0.2, "quick": 10, "full": 30}


def sleep(line, options, number):
    """Sleep, as a worker if there are options, and tell the CPU seconds that took."""
    if options:
        stdevents.configure(**options)
        time.sleep(0.2)  # until the others' `started` are handled
    line.tell()
    line.hear()
    before = time.process_time()
    time.sleep(line.hear())
    line.tell(time.process_time() - before)
    line.hear()


def share(seconds, options):
    """Percent of one core that all of them use together."""
    with children(WORKERS, sleep, options) as processes:
        for process in processes:
            process.say()
        for process in processes:
            process.say(seconds)
        return 100 * sum(process.hear() for process in processes) / seconds


def measure(size):
    """The difference, in percent of one core."""
    asleep = share(SECONDS[size], {})
    used = share(SECONDS[size], {"shm": name(), "interval": 1})
    what = f"% of a core, {WORKERS} idle workers, for {SECONDS[size]:g} s"
    more = f"{used:.3f} %, and asleep {asleep:.3f} %"
    yield Figure(
        what, "processes asleep (difference)", used - asleep, used - asleep, 0.05, more=more
    )


if __name__ == "__main__":
    main(measure, __doc__)
