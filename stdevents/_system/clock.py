"""The clock of all waits and deadlines, the same for every process of the host.

Bound when imported, and not `time.monotonic`: tools for tests replace that one while a program
runs, and a wait would then never end, or a key be held for ever.
"""

from __future__ import annotations

from functools import partial
from time import CLOCK_MONOTONIC, clock_gettime, clock_gettime_ns

#: seconds
monotonic = partial(clock_gettime, CLOCK_MONOTONIC)
#: nanoseconds
monotonic_ns = partial(clock_gettime_ns, CLOCK_MONOTONIC)
