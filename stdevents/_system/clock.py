"""The clock of all waits and deadlines, the same for every process of the host; and of the date.

Bound when imported, and not `time.monotonic` and `time.time`: tools for tests replace those while a
program runs. Then a wait would never end, a key be held for ever, or a date be no number.
"""

from __future__ import annotations

from functools import partial
from time import CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, clock_gettime_ns

#: seconds
monotonic = partial(clock_gettime, CLOCK_MONOTONIC)
#: nanoseconds
monotonic_ns = partial(clock_gettime_ns, CLOCK_MONOTONIC)
#: seconds since the epoch
date = partial(clock_gettime, CLOCK_REALTIME)
