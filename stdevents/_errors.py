"""The errors. Each is also one of the standard ones, and each survives pickling."""

from __future__ import annotations


class StdeventsError(Exception):
    """Anything that stdevents itself complains about."""


class NotConfigured(StdeventsError, RuntimeError):
    """The bus is not open in this process: `configure` was not called, or `close` was."""


class EncodeError(StdeventsError, ValueError):
    """The event cannot be written as JSON; the message says which part of it, and why."""


class PayloadTooLarge(EncodeError):
    """The event is larger than the ring of its bus, or those of a `post_many` are together.

    `size` is the length of what was encoded and `limit` that of the ring, both in bytes; or, where
    the bytes would fit, how many events were given, and how many slots there are for one post.
    """

    def __init__(self, message: str, size: int = 0, limit: int = 0) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class LockTimeout(StdeventsError, TimeoutError):
    """The lock of the bus was not to be had within `wait_max` seconds."""


class NoRoom(StdeventsError, TimeoutError):
    """With `overflow="wait"`: a worker has not yet taken what the event would overwrite.

    `pid` and `lag` are those of the slowest worker: its process id, and how many published
    events it has still to take. `pids` are those of all that are too slow.
    """

    def __init__(
        self, message: str, pid: int = 0, lag: int = 0, pids: tuple[int, ...] = ()
    ) -> None:
        super().__init__(message)
        self.pid = pid
        self.lag = lag
        self.pids = pids


class SegmentError(StdeventsError, OSError):
    """The shared memory or the folder of a bus is not usable.

    Of another owner, of another layout version, damaged, or without room. `errno` is set
    where the operating system gave one.
    """


class RelayError(StdeventsError, ConnectionError):
    """The stream of a relay cannot be reached, or it refuses; `__cause__` is the client's error."""


for _error in (StdeventsError, *StdeventsError.__subclasses__(), PayloadTooLarge):
    # A traceback names what users import.
    _error.__module__ = __name__.rpartition(".")[0]
