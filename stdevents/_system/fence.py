"""A memory fence, of what the standard library has.

Taking and releasing a lock twice: what stands before the first release is visible to all others
before anything is loaded or stored after the second taking.
"""

from __future__ import annotations

import os

# Not threading's: gevent replaces that by one without any atomics.
from _thread import RLock  # type: ignore[attr-defined]

#: Does this processor reorder stores with stores, or loads with loads? x86-64 reorders only a
#: store with a load that follows it. One that is not known is taken for one that does.
REORDERS = os.uname().machine not in ("x86_64", "amd64")


def fence() -> None:
    """Have all other processors see what was stored before before anything is loaded after."""
    lock = RLock()  # nobody else's: who is interrupted in here has nobody wait for it
    with lock:
        pass
    with lock:
        pass
