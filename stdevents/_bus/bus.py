"""`Bus`: where table, handlers and loop meet."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time

from .._errors import NoRoom, NotConfigured, StdeventsError
from .._log import logger
from .._names import check_names
from .._system.bell import Listener, Sleeper
from .._system.filelock import Stranded
from .._system.folder import Folder
from .._system.threadlock import Turn
from .._table.layout import LAST
from . import codec as _codec
from . import hooks as _hooks
from . import loop as _loop
from . import segment as _segment
from . import settings as _settings
from .handlers import Handlers, decorator, levels
from .session import Session, events
from .settings import Settings, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence, TypeVar

    from .._table.table import Event
    from .._types import Handler, Origin, Stats, WorkerInfo
    from .segment import Segment

    AnyHandler = TypeVar("AnyHandler", bound=Handler)


class Bus:
    """A bus of events between processes. The package's functions are the methods of one of these.

    `Bus()` is closed until its `configure`, so that handlers can be registered first;
    `Bus("name", ...)` takes the options of `configure` and opens it. `with` closes it at its end.
    A process opens a bus of one name once. A bus cannot be pickled, except the package's: pass the
    name.
    """

    def __init__(self, shm: str | None = None, **options: Any) -> None:
        self._handlers = Handlers()
        self._loop = _loop.Loop(self._poll_and_look, self._listen, self._may_sleep)
        self._session: Session | None = None
        self._unready: Session | None = None  # a forked child's, which is not a worker yet
        self._enrolling: Session | None = None  # the same, while it becomes one
        self._start_again()
        _hooks.enter(self)
        if shm is not None:
            self.configure(shm, **options)
        elif options:
            raise ValueError(f"Bus: {', '.join(options)} given, but not the name of a bus")

    def _start_again(self) -> None:
        self._opening = threading.RLock()
        self._opener = 0  # the thread that configures or closes
        self._turn = Turn()
        # Event loops that watch `fileno`: each stops that, and then calls its argument.
        self._watchers: set[Callable[[Callable[[], object]], object]] = set()

    def __repr__(self) -> str:
        return f"<Bus {self._loop.name!r}>" if self.configured() else "<Bus, closed>"

    def __reduce__(self) -> str:
        # The initializer of a pool of spawned processes, `stdevents.configure`, is pickled.
        if self is default:
            return "default"
        raise TypeError(
            f"{self!r} cannot be pickled; pass its name, and open it in the other process"
        )

    # -- open and close ----------------------------------------------------------------------------

    def configure(
        self,
        shm: str | None = None,
        *,
        size: int | str = _settings.SIZE,
        timeout: float = _settings.TIMEOUT,
        interval: float = _settings.INTERVAL,
        wait_interval: float = _settings.WAIT_INTERVAL,
        wait_max: float = _settings.WAIT_MAX,
        shm_retries: int = _settings.SHM_RETRIES,
        overflow: str = _settings.OVERFLOW,
        start: str = _settings.START,
    ) -> Bus:
        """Open the bus named `shm`: create it, or join it. Posts `started`, starts the loop.

        Called again without `shm`, or with the same one, it changes the settings that are given
        and keeps the others.

        `size`: bytes in the ring, an int or like "512k", "1m"; counts when the bus is created.
        `timeout`: seconds for which a `unique` key is held from when its event was taken.
        `interval`: seconds that the loop sleeps between two polls; 0: no loop in this process,
        which polls by hand. `wait_interval`, `wait_max`: step and bound, in seconds, of a wait
        for the lock. `shm_retries`: how often a post that finds no room tries again (for
        `overflow="wait"`, each after `wait_interval`). `overflow`: "drop" overwrites the oldest
        events; "wait" holds a post until every live worker has taken what it would overwrite;
        the one that creates the bus decides for all. `start`: "new" begins with what is posted
        from now on, "oldest" with what the ring still holds.

        Returns the bus. TypeError or ValueError for a bad option, which is named; StdeventsError
        if this process has another bus open, or the same one by another `Bus`; SegmentError if
        shared memory or folder cannot be used; LockTimeout. Nothing is changed then.

        A signal handler must not call it. The original has no `size`, `overflow` and `start`: nginx
        makes its zones.
        """
        options = {
            "size": size,
            "timeout": timeout,
            "interval": interval,
            "wait_interval": wait_interval,
            "wait_max": wait_max,
            "shm_retries": shm_retries,
            "overflow": overflow,
            "start": start,
        }
        with self._opening:
            opener = self._opener
            try:
                self._opener = threading.get_ident()
                if self.configured():
                    self._change(shm, options)
                else:
                    self._open(shm, options)
            finally:
                self._opener = opener
        return self

    def _open(self, shm: str | None, options: dict[str, Any]) -> None:
        if shm is None:
            raise ValueError("shm: no bus is open here yet; give the name of the one to open")
        name, settings = check_name(shm), Settings(options)
        _hooks.check_server()
        segment, session = _segment.Segment(Folder(name), settings), None
        self._loop.name = name
        try:
            if _open_here.setdefault(name, self) is not self:
                raise StdeventsError(
                    f"bus {name!r}: this process has it open already; "
                    "use that one, or close it first"
                )
            self._loop.interval = settings.interval
            _hooks.watch_exit()
            worker = _segment.join(segment)
            session = Session(segment, worker, segment.words[worker.position_at], self._handlers)
            self._handlers.failed = 0
            self._announce(session, events.started, tolerated=(NoRoom,))
            if settings.start == "oldest":  # of those that `started` has not overwritten
                session.position = session.table.go_back(worker.position_at)
            self._session = session
            self._loop.start()
        except BaseException:
            self._leave(session, segment)
            raise

    def _change(self, shm: str | None, options: dict[str, Any]) -> None:
        session = self._session or self._ready()
        name = session.segment.name
        if shm is not None and check_name(shm) != name:
            raise StdeventsError(
                f"bus {name!r} is open here, and {shm!r} cannot be opened beside it; "
                "close it first, or make a stdevents.Bus of its own for the other"
            )
        session.settings.change(options, name, session.segment.layout.size)
        self._loop.interval = session.settings.interval
        if self._loop.interval:
            self._loop.start()
            self._loop.wake()
        else:
            self._loop.stop(session.settings.wait_max)

    def configured(self) -> bool:
        """Is the bus open in this process?"""
        return (self._session or self._unready or self._enrolling) is not None

    def close(self) -> None:
        """Post `stopping`, stop the loop, leave the bus; the last one out removes it.

        What was posted before and not polled yet is not handled here any more. A handler that
        runs in another thread is waited for, `wait_max` seconds at most. Twice is fine; so is
        `configure` afterwards. Handlers stay registered.

        A signal handler may call it; a post that it interrupted may then raise NotConfigured when
        it goes on. In the middle of `configure` nothing is open yet, and nothing is closed.
        """
        with self._opening:
            opener = self._opener
            try:
                self._opener = threading.get_ident()
                self._close()
            finally:
                self._opener = opener

    def _close(self) -> None:
        session = self._session
        if session is not None and not session.segment.has_its_files():
            with contextlib.suppress(StdeventsError, OSError):  # then it is left as it is
                self._recover(session)
            session = self._session
        try:
            if session is not None and not session.over:
                self._announce(session, events.stopping)
                session.over = True  # a poll ends with the handler that it is in
                session.table.finish()
                wait_max = session.settings.wait_max
                deadline = time.monotonic() + wait_max
                self._loop.stop(wait_max)
                self._turn.wait(deadline - time.monotonic())
        finally:  # a KeyboardInterrupt must not leave it open with a session that is over
            session = session or self._unready
            if session is not None:  # else there is nothing to leave, or not yet
                self._leave(session, session.segment)

    def _announce(
        self,
        session: Session,
        event: str,
        tolerated: tuple[type[Exception], ...] = (StdeventsError, OSError, ValueError),
    ) -> None:
        """Post it without waiting for room: neither an exit nor a fork may wait for slow readers.

        ValueError: a signal handler has closed the bus.
        """
        try:
            session.table.append((_codec.encode(events._source, event, None, None),))
        except tolerated as error:
            logger().warning("bus %r: %s could not be posted: %s", self._loop.name, event, error)

    def _leave(self, session: Session | None, segment: Segment | None) -> None:
        self._session = self._unready = None
        if session is not None:
            session.over = True
        self._loop.interval = 0.0
        self._loop.stop(0)
        if _open_here.get(self._loop.name) is self:
            _open_here.pop(self._loop.name, None)  # a signal handler may have closed it
        if session is not None:
            self._close_watch(session)
            session.table.finish()
        if segment is not None:
            try:
                _segment.leave(segment)
            except (StdeventsError, OSError) as error:
                logger().warning("bus %r: not left in good order: %s", self._loop.name, error)

    def _close_watch(self, session: Session) -> None:
        """Close what is behind `fileno`, as soon as no event loop watches it any more."""
        close: Callable[[], object] = session.watch.close if session.watch else lambda: None
        for let_go_before in tuple(self._watchers):
            close = functools.partial(let_go_before, close)
        close()

    def _ready(self) -> Session:
        """The session, after making a forked child a worker that is none yet; or NotConfigured."""
        with self._opening:
            if self._unready is not None:
                self._enrol(self._unready)
            if self._session is None:
                raise NotConfigured(
                    f"the bus is not open in process {os.getpid()}; call configure(name) first: "
                    "each worker does so itself, as in post_fork or in the initializer of a pool"
                )
            return self._session

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- post --------------------------------------------------------------------------------------

    def post(
        self, source: str, event: str, data: Any = None, unique: str | int | None = None
    ) -> int:
        """Broadcast an event to all workers, this one included, each at its next poll.

        `data` is anything that the json module can write, up to the ring's size; dict keys become
        strings, and tuples lists. With `unique` only one worker handles it, the first to come to
        it that has a handler for it, and later events of the same key are ignored for `timeout`
        seconds from then.

        Returns the event's id: 1, 2, 3, … without gaps, as long as the bus exists.

        TypeError or ValueError for a bad source, event or unique; EncodeError for data that is not
        JSON; PayloadTooLarge; LockTimeout; SegmentError for a damaged bus, or one that cannot be
        locked; NoRoom, with `overflow="wait"`, without waiting where a handler would wait for its
        own worker; NotConfigured. Nothing was posted then. From a signal handler or finaliser it
        may be called at any time. If a signal handler raises in the middle of it, or closes the
        bus, the event may be posted nevertheless.
        """
        return self._append((_codec.encode(source, event, data, unique),))

    def post_many(self, events: Iterable[Sequence[Any]]) -> list[int]:
        """Broadcast several events together: all of them, or none, whatever happens.

        Each is `(source, event, data)` or `(source, event, data, unique)`, as `post` takes them.
        They get consecutive ids; the lock is taken once, and sleepers are woken once. Together they
        may be as large as the ring, and as many as its `size / 256` slots less one.

        Returns their ids, in order; [] for none. Raises what `post` does: TypeError, ValueError
        and EncodeError name the place in `events`; PayloadTooLarge is for all of them together,
        and so is the room for which `overflow="wait"` waits. Nothing was posted then.
        """
        encoded = tuple([_encode(index, one) for index, one in enumerate(events)])
        if not encoded:
            return []
        last = self._append(encoded)
        return list(range(last + 1 - len(encoded), last + 1))

    def _append(self, events: tuple[Event, ...]) -> int:
        session = self._session or self._ready()
        try:
            try:
                return session.table.append(events)
            except NoRoom as full:
                # A handler would wait for its own worker, which goes on when the handler is done.
                busy = os.getpid() if self._turn.mine() else 0
                return session.table.append_when_there_is_room(events, full, busy)
        except (ValueError, Stranded) as error:
            self._recover_from(session, error)
            return self._append(events)

    def _recover_from(self, session: Session, error: ValueError | Stranded) -> None:
        """Make the bus usable for another try, or raise.

        A plain ValueError means that another thread has released views or lock.
        """
        if isinstance(error, Stranded):
            self._recover(session)
        elif isinstance(error, StdeventsError) or self._session is session:
            raise error
        elif self._session is None or not session.segment.lock.stranded:
            raise NotConfigured(
                "the bus was closed, or the process forked, during this call"
            ) from None

    def post_local(self, source: str, event: str, data: Any = None) -> None:
        """Queue an event for this process only; it is handled at the next poll.

        `data` reaches the handlers as the object that it is, not by way of JSON; their `pid` is
        None. A sleeping loop is woken. TypeError or ValueError for a bad source or event;
        NotConfigured. A forked child does not inherit what is queued.
        """
        session = self._session or self._ready()
        check_names(source, event)
        session.local.append((source, event, data))
        self._loop.wake_if_asleep()
        if session.watch is not None:
            session.watch.wake()

    # -- poll --------------------------------------------------------------------------------------

    def poll(self) -> str:
        """Run the handlers for all that is new, local events first, until nothing is left.

        Returns "done"; or "recursive", at once, when a handler calls it, or a signal handler that
        interrupted another call of this bus; the next poll handles what is new then. When another
        thread is polling, that is waited for. Handlers that keep posting do not keep it for ever:
        it handles what was there when it began a round, in at most 16 rounds.

        An exception of a handler is logged and counted. One that is no Exception, as
        KeyboardInterrupt, ends the poll; the next one goes on with the event after.
        NotConfigured; SegmentError for a damaged bus; LockTimeout where an event with `unique`
        could not be claimed: the next poll tries again.
        """
        session = self._session or self._ready()
        turn = self._turn
        try:
            if (
                session.words[LAST] == session.position  # R1
                and not session.local
                and session.watch is None
                and not turn.owner
                and (self._loop.interval or time.monotonic() < session.next_look)
            ):
                return "done"
        except ValueError as error:
            self._recover_from(session, error)
            return self.poll()
        # Handlers never run under the lock.
        if turn.mine() or session.segment.lock.mine() or self._is_opener():
            return "recursive"
        try:
            turn.take()
            self._poll(session)
            turn.give()
        except Stranded:
            turn.give()
            self._recover(session)
            return self.poll()
        except BaseException as error:
            turn.give()
            # Another thread may have closed the bus: its memory is gone then.
            if not isinstance(error, ValueError) or self._session is session:
                raise
        if not self._loop.interval and not session.is_intact(self._loop.interval):
            self._recover(session)
            return self.poll()
        return "done"

    def _is_opener(self) -> bool:
        """Was the calling thread interrupted in configure or close?

        It must not wait for handlers then: one of them may close the bus, and wait for this thread.
        """
        # Not by the lock alone: to one that was made before gevent's patching, all greenlets are
        # one thread.
        owned: bool = self._opening._is_owned()  # type: ignore[attr-defined]
        return owned and self._opener == threading.get_ident()

    def _poll_and_look(self) -> None:
        """For the loop: poll, and see to it that the bus is there still."""
        self.poll()
        session = self._session
        if session is not None and not session.is_intact(self._loop.interval):
            self._recover(session)
            self.poll()

    def _poll(self, session: Session) -> None:
        if session.watch is None:
            session.handle_rounds()
            return
        session.watch.wait(0)
        try:
            session.handle_rounds()
        finally:
            if not self._may_sleep():
                session.watch.wake()

    # -- handlers ----------------------------------------------------------------------------------

    def register(self, callback: AnyHandler, source: str | None = None, *events: str) -> AnyHandler:
        """Have `callback(data, event, source, pid)` called for events.

        For every event, or those of `source`, or only `events` of it. `pid` is the poster's.
        Handlers are called in this order: of every event, of the source, of source and event;
        within each weak before strong, in order of registration. A callback that is registered
        twice in one place is called once. A registration takes effect with the next event, also
        within a handler; the bus need not be open.

        Returns the callback. TypeError if it is not callable, or is a coroutine function: for
        those see `stdevents.aio`.
        """
        self._handlers.add(callback, levels(source, events), weak=False)
        return callback

    def register_weak(
        self, callback: AnyHandler, source: str | None = None, *events: str
    ) -> AnyHandler:
        """As `register`, without keeping `callback` alive: it is called until it is collected.

        A bound method lives as long as its object. TypeError for what cannot be held weakly.
        """
        self._handlers.add(callback, levels(source, events), weak=True)
        return callback

    def unregister(self, callback: Handler, source: str | None = None, *events: str) -> bool:
        """Remove `callback` where it was registered, with the same source and events.

        Strong and weak; not in other places. True if something was removed.
        """
        return self._handlers.remove(callback, levels(source, events))

    def on(self, source: str | None = None, *events: str) -> Callable[[AnyHandler], AnyHandler]:
        """`register` as a decorator: `@stdevents.on("cache", "drop")`."""
        return decorator(self.register, source, events)

    def origin(self) -> Origin | None:
        """In a handler: the host that the event comes from, and its id in the stream of the relay.

        None for an event that no relay brought, and outside a handler.
        """
        session = self._session
        if session is None or session.origin is None or not self._turn.mine():
            return None
        from .._types import Origin

        return Origin(*session.origin)

    # -- looking at it -----------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Counts of this process; NotConfigured if the bus is not open."""
        session = self._session or self._ready()
        try:
            position = session.position  # first, since both only grow: the lag is 0 or more
            last_id = session.table.last
        except ValueError as error:
            self._recover_from(session, error)
            return self.stats()
        from .._types import Stats

        return Stats(
            posted=session.table.posted,
            handled=session.handled,
            lost=session.lost,
            ignored=session.ignored,
            handler_errors=self._handlers.failed,
            last_id=last_id,
            lag=last_id - position,
        )

    def workers(self) -> list[WorkerInfo]:
        """The live workers of the bus, by slot. NotConfigured; LockTimeout."""
        session = self._session or self._ready()
        try:
            workers = session.table.workers()
        except (ValueError, Stranded) as error:
            self._recover_from(session, error)
            return self.workers()
        from .._types import WorkerInfo

        return [WorkerInfo(*worker) for worker in workers]

    # -- waiting for news --------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that is readable when there is news: for select, epoll, asyncio.

        `loop.add_reader(bus.fileno(), bus.poll)`: only `poll` makes it unreadable again; do not
        read from it. It stays the same until `close`, or until a fork, after which the child asks
        again. With `interval=0` nothing else is needed; a loop polls beside it. NotConfigured;
        StdeventsError where there is no epoll (macOS, gevent): poll at intervals there.
        """
        with self._opening:
            session = self._session or self._ready()
            if session.watch is None:
                try:
                    session.watch = Listener(session.segment.bell)
                except OSError as error:
                    raise StdeventsError(
                        f"bus {self._loop.name!r}: cannot be waited for: {error}; "
                        "let it poll at an interval"
                    ) from error
                if not self._may_sleep():
                    session.watch.wake()
            return session.watch.fileno()

    def _listen(self) -> Listener | Sleeper | None:
        session = self._session
        if session is None:  # no worker: a forked child that is to try again, or none at all
            return Sleeper() if self._unready is not None else None
        try:
            return Listener(session.segment.bell)
        except OSError:
            return Sleeper()

    def _may_sleep(self) -> bool:
        session = self._session  # once: another thread may close the bus
        return session is None or session.may_sleep()

    # -- fork --------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        """Before a fork: neither the loop's thread nor a half opened bus is copied."""
        session = self._session
        wait = session.settings.wait_max if session else float(_settings.WAIT_MAX)
        self._loop.park(wait)
        self._opening.acquire(timeout=wait)

    def _after_fork_in_parent(self) -> None:
        """After a fork: continue."""
        with contextlib.suppress(RuntimeError):  # it could not be taken before the fork
            self._opening.release()
        self._loop.resume()

    def _after_fork_in_child(self) -> None:
        """After a fork: become a worker of its own, now if possible.

        It does not rely on the other hooks: some servers call only the child's.
        """
        session = self._session or self._unready or self._enrolling
        self._session = self._enrolling = None
        self._start_again()
        self._handlers.forked()
        self._loop.forked()
        if session is not None:
            session.over = True
        if session is None:  # another thread was opening it
            self._leave(None, None)
            return
        if session.watch is not None:
            session.watch.abandon()
            session.watch = None
        session.segment.forked()
        self._unready = session
        try:
            with contextlib.suppress(StdeventsError, OSError):
                self._enrol(session)
            # If that failed, the next call tries again, and raises what is in the way. So does
            # the loop, which logs it: a child that only listens makes no call.
            self._loop.start()
        except RuntimeError as error:
            logger().warning("bus %r: no loop in a forked child: %s", self._loop.name, error)

    def _enrol(self, session: Session) -> None:
        try:
            try:
                # Else a signal handler that posts during this would enrol it, too.
                self._enrolling, self._unready = session, None
                worker = _segment.enrol(session.segment, session.position)
                renewed = Session(session.segment, worker, session.position, self._handlers)
            except _segment.Removed as removed:
                renewed = self._join_again(session, removed)
            if session.process == os.getpid():
                renewed.go_on_from(session)
            self._session = renewed
        except BaseException:
            self._unready = session
            raise
        finally:
            self._enrolling = None
        if renewed.segment is not session.segment:
            session.segment.close()
        self._announce(renewed, events.started)
        self._loop.start()

    def _join_again(self, session: Session, removed: _segment.Removed) -> Session:
        logger().warning(
            "%s; joining it again, events that were posted since are lost to this worker", removed
        )
        segment = _segment.successor(session.segment)
        try:
            worker = _segment.join(segment)
            renewed = Session(segment, worker, 0, self._handlers)
            # All that is there was posted while this process was a worker.
            renewed.position = renewed.table.go_back(worker.position_at)
        except BaseException:
            _segment.leave(segment)
            raise
        renewed.was_removed = True
        return renewed

    def _recover(self, session: Session) -> None:
        """Be a worker again after the bus was removed, or the files of this process were closed."""
        with self._opening:
            if self._session is session:
                session.segment.strand()
                self._session, self._unready = None, session
                session.over = True
            self._ready()


def _encode(index: int, one: Any) -> Event:
    """Encode one event of a `post_many`; errors say which one it is."""
    if not isinstance(one, (tuple, list)) or len(one) not in (3, 4):
        shape = f"{len(one)} items" if isinstance(one, (tuple, list)) else type(one).__name__
        raise TypeError(
            f"events[{index}]: {shape}, where (source, event, data) is wanted, "
            "or (source, event, data, unique)"
        )
    source, event, data, unique = (*one, None)[:4]
    try:
        return _codec.encode(source, event, data, unique)
    except (TypeError, ValueError) as error:
        raise type(error)(f"events[{index}]: {error}") from error.__cause__


_open_here: dict[str, Bus] = {}

#: the bus whose methods are the functions of the package
default = Bus()
