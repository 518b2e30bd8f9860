"""What is behind `fileno`: one listener, which goes with its process from seat to seat."""

from __future__ import annotations

import errno
import functools

from .._errors import StdeventsError
from .._log import report
from .._system.files import FilesClosed
from .._system.listener import Listener
from .._system.threadlock import FOREVER, ThreadLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .life import Life
    from .seat import Seat


class Watch:
    """What an event loop waits with for news of one bus; there from the first `number` on."""

    def __init__(self, life: Life, may_sleep: Callable[[], bool]) -> None:
        self._life = life
        self._may_sleep = may_sleep
        self.forget()

    def forget(self) -> None:
        """Begin without a listener."""
        self.listener: Listener | None = None
        #: event loops that watch it: each stops that, and then calls its argument
        self.watchers: set[Callable[[Callable[[], object]], object]] = set()
        #: what polls on an event loop, by that: one for all that are attached to it
        self.wakings: dict[Any, Any] = {}
        self._making = ThreadLock()  # of who makes the listener

    def forked(self) -> None:
        """Let go of what is the parent's, in a forked child."""
        if self.listener is not None:
            self.listener.abandon()
        self.forget()

    def number(self, seat: Seat) -> int:
        """The descriptor."""
        listener = self.listener or self._making.hold(FOREVER, self._make, seat)
        try:
            return listener.fileno()
        except ValueError:
            raise _closed_meanwhile(seat) from None

    def _make(self, seat: Seat) -> Listener:
        if self.listener is not None:  # another thread was faster
            return self.listener
        try:
            listener = Listener(seat.bell)
        except OSError as error:
            if self._life.state.seat is not seat:
                raise _closed_meanwhile(seat) from None
            raise StdeventsError(
                f"bus {seat.name!r}: cannot be waited for: {error}; let it poll at an interval"
            ) from error
        self.listener = listener
        if self._life.state.seat is not seat:  # nobody else would close this one
            self.listener = None
            listener.close()
            raise _closed_meanwhile(seat)
        seat.quiet_polls = ()
        if not self._may_sleep():
            listener.wake()
        return listener

    def wake(self) -> None:
        """Make the descriptor readable."""
        listener = self.listener
        if listener is not None:
            listener.wake()

    def follow(self, seat: Seat) -> None:
        """Hear the bell of another seat."""
        listener = self.listener
        if listener is None or listener.is_intact():
            return
        self.listener = None
        try:
            if listener.has_its_files():  # so that the descriptor stays the same
                listener.listen_to(seat.bell)
                self.listener = listener
            else:
                listener.close()
                self.listener = Listener(seat.bell)
        except OSError as error:
            report("bus %r: fileno() has to be asked for again: %s", seat.name, error)
        self.wake()

    def close(self) -> None:
        """Close the listener, as soon as no event loop watches it any more."""
        listener, self.listener = self.listener, None
        close: Callable[[], object] = listener.close if listener else lambda: None
        for let_go_before in self.watchers.copy():  # one step: event loops come and go
            close = functools.partial(let_go_before, close)
        close()


def _closed_meanwhile(seat: Seat) -> FilesClosed:
    return FilesClosed(errno.EBADF, f"bus {seat.name!r}: another thread has closed it")
