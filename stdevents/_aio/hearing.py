"""What all calls that wait on one event loop sleep with: one ear, which has files."""

from __future__ import annotations

import asyncio

from .._bus.waiting import DEAF_PAUSE, Ear

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._bus.life import Life


class Hearing:
    """The bell of a bus, heard on one event loop by all that are within `with` at that time.

    An ear of its own for each, of three descriptors, would take all that a server may have where
    one worker is stopped, and some hundred requests wait for it.
    """

    def __init__(self, life: Life, hearings: dict[asyncio.AbstractEventLoop, Hearing]) -> None:
        #: what an answer wakes
        self.ear = Ear(life)
        self._hearings = hearings
        self._loop = asyncio.get_running_loop()
        self._users = 0
        self._watched: int | None = None  # the descriptor that the event loop watches
        self._sleepers: set[asyncio.Future[None]] = set()

    @classmethod
    def here(cls, life: Life, hearings: dict[asyncio.AbstractEventLoop, Hearing]) -> Hearing:
        """That of the event loop that runs; in `hearings` while somebody uses it."""
        return hearings.get(asyncio.get_running_loop()) or cls(life, hearings)

    def __enter__(self) -> Hearing:
        self._users += 1
        self._hearings[self._loop] = self
        if self.ear.fileno() is None:  # there were no descriptors left: try again
            self.ear.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users:
            self._hearings.pop(self._loop, None)
            try:
                self._stop_watching()
            finally:
                self.ear.close()

    def listens(self) -> bool:
        """Has the ear been listening? If not, it begins now: look once more before you sleep."""
        if self.ear.is_of_now():
            return True
        # The event loop must let go of the files before they are closed.
        self._stop_watching()
        self._wake_all()  # who looked before may have missed a ring
        return self.ear.listens()

    async def sleep(self, seconds: float) -> None:
        """Sleep until the bell rings, so long at most, while the event loop goes on."""
        if not self._watch():
            await asyncio.sleep(min(seconds, DEAF_PAUSE))
            return
        rung: asyncio.Future[None] = self._loop.create_future()
        self._sleepers.add(rung)
        try:
            await asyncio.wait({rung}, timeout=seconds)
        finally:
            self._sleepers.discard(rung)

    def _watch(self) -> bool:
        """False where there is no epoll, or this event loop watches no descriptors."""
        number = self.ear.fileno()
        if number is not None and number != self._watched:
            try:
                self._loop.add_reader(number, self._hear)
            except NotImplementedError:
                return False
            self._watched = number
        return number is not None

    def _stop_watching(self) -> None:
        watched, self._watched = self._watched, None
        if watched is not None:
            self._loop.remove_reader(watched)

    def _hear(self) -> None:
        self.ear.sleep(0)  # what was heard is not heard again
        self._wake_all()

    def _wake_all(self) -> None:
        for rung in self._sleepers:
            if not rung.done():
                rung.set_result(None)
