"""The errors. Each is also one of the standard ones, and each survives pickling."""

from __future__ import annotations

from ._names import PACKAGE


class StdeventsError(Exception):
    """Base class of the errors that stdevents raises."""


class NotConfigured(StdeventsError, RuntimeError):
    """The bus is not open in this process: `configure` was not called, or `close` was."""


class EncodeError(StdeventsError, ValueError):
    """The event cannot be written as JSON; the message says which part of it, and why."""


class PayloadTooLarge(EncodeError):
    """The event, or all events of a `post_many` together, are larger than the ring of the bus.

    `size` is the encoded length and `limit` that of the ring, both in bytes; or, where the bytes
    would fit, the number of events, and the number of slots that one post may use. Of a relay's
    `post_many` also: more events, or bytes, than it puts on the stream by one request.
    """

    def __init__(self, message: str, size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class LockTimeout(StdeventsError, TimeoutError):
    """The lock of the bus could not be taken within `wait_max` seconds."""


class NoRoom(StdeventsError, TimeoutError):
    """With `overflow="wait"`: a worker has not yet taken what the event would overwrite.

    `pid` and `lag` are those of the slowest worker: its process id, and how many published events
    it has not taken yet. `pids` are those of all workers that are too slow, and `slots` are their
    slots, which differ even where two containers have the same pids. `position` is the id of the
    event that the slowest has taken last.
    """

    def __init__(
        self,
        message: str,
        pid: int = 0,
        lag: int = 0,
        pids: tuple[int, ...] = (),
        slots: tuple[int, ...] = (),
        position: int = 0,
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.lag = lag
        self.pids = pids
        self.slots = slots
        self.position = position


class SegmentError(StdeventsError, OSError):
    """The shared memory or the folder of a bus cannot be used.

    It has another owner or another layout version, is damaged, or there is no room for it; or, for
    a poster, no worker has the bus open (ENOENT). `errno` is set where there is one.
    """


class RelayError(StdeventsError, ConnectionError):
    """Redis cannot be reached, or refuses a relay's request; `__cause__` is the client's error."""


for _error in (StdeventsError, *StdeventsError.__subclasses__(), PayloadTooLarge):
    # A traceback names what users import.
    _error.__module__ = PACKAGE
