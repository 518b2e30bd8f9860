"""A library that stands between a Python and its C library: see intervene.c.

`build` makes it, for a test; the programs that the test starts with it preloaded use the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def build(folder):
    """Compile it into the folder; its path. Skips the test where that cannot be."""
    import pytest  # which the programs do without

    if not sys.platform.startswith("linux"):
        pytest.skip("libraries are preloaded in another way here")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc)")
    library = Path(folder, "intervene.so")
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE, "-ldl"]
    subprocess.run([str(word) for word in command], check=True)
    return library


class Intervention:
    """The preloaded library, in a program that was started with it."""

    def __init__(self):
        library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._armed = ctypes.c_int.in_dll(library, "armed")
        self._seen = ctypes.c_long.in_dll(library, "seen")
        self._fail_at = ctypes.c_long.in_dll(library, "fail_at")
        self._fail_count = ctypes.c_long.in_dll(library, "fail_count")
        self._fail_with = ctypes.c_int.in_dll(library, "fail_with")
        self._failed = ctypes.c_long.in_dll(library, "failed")
        self._last_failed = (ctypes.c_char * 32).in_dll(library, "last_failed")
        self._clock_offset = ctypes.c_longlong.in_dll(library, "clock_offset")

    @contextlib.contextmanager
    def failing(self, first, count, number):
        """The calls from that number on fail so often, with this errno."""
        self._fail_at.value, self._fail_count.value = first, count
        self._fail_with.value = number
        self._seen.value = self._failed.value = 0
        self._armed.value = 1
        try:
            yield
        finally:
            self._armed.value = 0

    @property
    def seen(self):
        """How many calls there were."""
        return self._seen.value

    @property
    def failed(self):
        """How many of them failed."""
        return self._failed.value

    @property
    def last_failed(self):
        """The name of the last one that did."""
        return self._last_failed.value.decode()

    def note_failed(self, failed, last_failed):
        """Take over what a forked child has seen of them."""
        self._failed.value, self._last_failed.value = failed, last_failed.encode()

    def disarm(self):
        """No call fails any more."""
        self._armed.value = 0

    def set_clock(self, seconds):
        """Have CLOCK_REALTIME, and with it `time.time`, be wrong by so much."""
        self._clock_offset.value = seconds
