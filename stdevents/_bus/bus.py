"""`Bus`: what programs call, said in full; what is done is done by its life and its handlers."""

from __future__ import annotations

from .._errors import NoRoom, NotConfigured
from .._names import check_names
from .._system.clock import monotonic
from .._system.files import LostGround
from .._system.threadlock import Inside
from .._table.layout import LAST
from .._types import Origin, WorkerInfo
from . import codec, settings
from .asking import Asking
from .handlers import Handlers, decorator, levels
from .later import PostLater
from .life import Life
from .states import Opening
from .together import Together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence, TypeVar

    from .._protocols import Handler
    from .._types import Stats

    AnyHandler = TypeVar("AnyHandler", bound=Handler)


class Bus(Together):
    """A bus of events between processes. The package's functions are the methods of one of these.

    `Bus()` is closed until its `configure`, so that handlers can be registered first;
    `Bus("name", ...)` takes the options of `configure` and opens it. `with` closes it at its end.
    A process opens a bus of one name once. A bus cannot be pickled, except the package's: pass the
    name.
    """

    def __init__(self, shm: str | None = None, **options: Any) -> None:
        self._handlers = Handlers()
        self._life = Life(self._handlers)
        self._polling = self._life.polling
        self._asking = Asking(self._life)
        if shm is not None:
            self.configure(shm, **options)
        elif options:
            raise ValueError(f"Bus: {', '.join(options)} given, but not the name of a bus")

    def __repr__(self) -> str:
        return f"<Bus {self._life.name!r}>" if self.configured() else "<Bus, closed>"

    def __reduce__(self) -> str:
        # The initializer of a pool of spawned processes, `stdevents.configure`, is pickled.
        if self is default:
            return "default"
        raise TypeError(
            f"{self!r} cannot be pickled; pass its name, and open it in the other process"
        )

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- open and close ----------------------------------------------------------------------------

    def configure(
        self,
        shm: str | None = None,
        *,
        size: int | str = settings.SIZE,
        timeout: float = settings.TIMEOUT,
        interval: float = settings.INTERVAL,
        wait_interval: float = settings.WAIT_INTERVAL,
        wait_max: float = settings.WAIT_MAX,
        shm_retries: int = settings.SHM_RETRIES,
        overflow: str = settings.OVERFLOW,
        start: str = settings.START,
        role: str = settings.ROLE,
    ) -> Bus:
        """Open the bus named `shm`: create it, or join it. Posts `started`, starts the loop.

        Called again without `shm`, or with the same one, it changes the settings that are given
        and keeps the others.

        `size`: bytes in the ring, an int or like "512k", "1MB", "64KiB" (in powers of 1024). Fixed
        when the first worker creates the bus; to change it, stop every worker. At 100 small events
        a second, "1MB" lets a worker fall 40 seconds behind. `timeout`: seconds for which a
        `unique` key is held from when its event was taken. `interval`: seconds that the loop sleeps
        between two polls; 0: no loop in this process, which polls by hand. `wait_interval`,
        `wait_max`: step and bound, in seconds, of a wait for the lock. `shm_retries`: how often a
        post that finds no room tries again (for `overflow="wait"`, each after `wait_interval`).
        `overflow`: "drop" overwrites the oldest events; "wait" holds a post until every live worker
        has taken what it would overwrite; the one that creates the bus decides for all. `start`:
        "new" begins with what is posted from now on, "oldest" with what the ring still holds;
        it is read only when the bus is opened.
        `role`: a "worker" handles events. A "listener" handles broadcast events, and takes none
        with `unique`: a master, a reloader, a fork server; what it forks are workers. A "poster"
        only posts, as a script does: no loop, no `started` and `stopping`, and nobody waits for it;
        where no worker has the bus open, `configure` raises SegmentError, and so does `post`,
        within half a second. A process keeps the role of its first `configure`.

        Returns the bus. TypeError or ValueError for a bad option, which is named; StdeventsError
        if this process has another bus open, or the same one by another `Bus`, or where no thread
        can be started for the loop; SegmentError if shared memory or folder cannot be used;
        LockTimeout. Nothing is changed then.

        A signal handler must not call it: StdeventsError where it interrupted another call. The
        original has no `size`, `overflow`, `start` and `role`: nginx makes its zones.
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
            "role": role,
        }
        self._life.open(shm, options)
        return self

    def configured(self) -> bool:
        """Is the bus open in this process?"""
        return self._life.is_configured()

    def close(self, wait: float | None = None) -> None:
        """Post `stopping`, stop the loop, leave the bus; the last one out removes it.

        Events that were posted but not yet polled are not handled here any more. A handler that
        runs in another thread is waited for, `wait` seconds at most, by default `wait_max`; one
        that still runs then is named in a WARNING. Twice is fine; so is `configure` afterwards.
        Handlers stay registered. TypeError or ValueError for a bad `wait`.

        A signal handler may call it: where it interrupted a call of its thread that holds the
        lock, or that opens the bus, the bus is closed when that call ends.
        """
        self._life.close(settings.seconds("wait", wait))

    # -- post --------------------------------------------------------------------------------------

    def post(
        self, source: str, event: str, data: Any = None, unique: str | int | None = None
    ) -> int:
        """Broadcast an event to all workers, this one included, each at its next poll.

        `data` is anything that the json module can write, up to the ring's size, 256 levels deep,
        with ints of up to 4,300 digits; dict keys become strings, and tuples lists. With `unique`
        only one worker handles it, the first to come to it that has a handler for it, and later
        events of the same key are ignored for `timeout` seconds from then.

        Returns the event's id: 1, 2, 3, … without gaps, as long as the bus exists. Called by a
        signal handler or finaliser that interrupted a call of its own thread which holds the
        lock, it returns 0: that call publishes the event before it returns, or logs why not.

        TypeError or ValueError for a bad source, event or unique; EncodeError for data that is not
        JSON; PayloadTooLarge; LockTimeout; SegmentError for a damaged bus, or one that cannot be
        locked; NoRoom, with `overflow="wait"`, without waiting where a handler, or the only thread
        that polls, would wait for itself; NotConfigured. Nothing was posted then. If an exception
        from outside ends it, such as a signal handler's, the event may be posted nevertheless.
        """
        seat = self._life.state.seat
        if seat is not None and not (seat.next_look and monotonic() >= seat.next_look):
            try:
                return seat.table.append((codec.encode(source, event, data, unique),))
            except (LostGround, NoRoom, ValueError, TypeError):  # the last two: as in Life.use
                pass
        return self._post(lambda: (codec.encode(source, event, data, unique),))

    def post_many(self, events: Iterable[Sequence[Any]]) -> list[int]:
        """Broadcast several events together: all of them, or none, whatever happens.

        Each is `(source, event, data)` or `(source, event, data, unique)`, as `post` takes them.
        They get consecutive ids; the lock is taken once, and sleepers are woken once. Together they
        may be as large as the ring, and as many as its `size / 256` slots less one.

        Returns their ids, in order; [] for none; all 0 where `post` would return 0. Raises what
        `post` does: TypeError, ValueError and EncodeError name the place in `events`;
        PayloadTooLarge is for all of them together, and so is the room for which
        `overflow="wait"` waits. Nothing was posted then.
        """
        given = codec.listed(events)
        if not given:
            return []
        encode = codec.encode_one
        last = self._post(lambda: tuple([encode(index, one) for index, one in enumerate(given)]))
        return list(range(last + 1 - len(given), last + 1)) if last else [0] * len(given)

    def _post(self, encode: Callable[[], tuple[bytes, ...]]) -> int:
        """Post on the seat that there is, or on the next one."""
        life = self._life
        try:
            # Encoded anew for each seat: a forked child is another process than it was.
            return life.use(lambda seat: self._polling.append(seat, encode()))
        except Inside:
            if isinstance(life.state, Opening):
                raise NotConfigured(
                    "the bus is not open yet: this call interrupted configure"
                ) from None
            life.defer(PostLater(life, encode))
            return 0

    def post_local(self, source: str, event: str, data: Any = None) -> None:
        """Queue an event for this process only; it is handled at the next poll.

        `data` reaches the handlers as the object that it is, not by way of JSON; their `pid` is
        None. A sleeping loop is woken. TypeError or ValueError for a bad source or event;
        NotConfigured; StdeventsError with role "poster", which handles nothing. A forked child
        does not inherit what is queued.
        """
        self._life.use(self._polling.queue, (*check_names(source, event), data))

    # -- poll --------------------------------------------------------------------------------------

    def poll(self, wait: float | None = None) -> str:
        """Run the handlers for all that is new, local events first, until nothing is left.

        Returns "done"; "recursive", at once, when a handler calls it, or a signal handler that
        interrupted another call of this bus: the next poll handles what is new then; or "busy" when
        another thread was still polling after `wait` seconds (None: wait as long as it takes).
        Handlers that keep posting do not make it run for ever: each round handles what was there
        when the round began, and there are at most 16 rounds.

        An exception of a handler is logged and counted. One that is no Exception, as
        KeyboardInterrupt, ends the poll; the next one goes on with the event after.
        NotConfigured; SegmentError for a damaged bus; LockTimeout where an event with `unique`
        could not be claimed: the next poll tries again; StdeventsError with role "poster";
        TypeError or ValueError for a bad `wait`.
        """
        at_hand = self._life.state.at_hand
        if at_hand is not None:
            words, progress, local, owner, seat = at_hand
            if words[LAST] == progress.position and not local and not owner:  # R1
                if wait is not None:
                    settings.seconds("wait", wait)
                for _ in seat.quiet_polls:
                    return "done"
                if self._polling.stays_quiet(seat):
                    return "done"
        return self._polling.poll(settings.seconds("wait", wait))

    # -- handlers ----------------------------------------------------------------------------------

    def register(self, callback: AnyHandler, source: str | None = None, *events: str) -> AnyHandler:
        """Have `callback(data, event, source, pid)` called for events.

        For every event, or those of `source`, or only `events` of it. `pid` is the poster's.
        Handlers are called in this order: of every event, of the source, of source and event;
        within each weak before strong, in order of registration. A callback that is registered
        twice in one place is called once. A registration takes effect with the next event, also
        within a handler; the bus need not be open.

        Returns the callback. TypeError if it is not callable, cannot take four arguments, has a
        yield in it, or is a coroutine function: for those see `stdevents.aio`.
        """
        self._handlers.add(callback, levels(source, events), weak=False)
        return callback

    def register_weak(
        self, callback: AnyHandler, source: str | None = None, *events: str
    ) -> AnyHandler:
        """Have `callback` called for events until it is collected: it is not kept alive.

        For every event, or those of `source`, or only `events` of it. A bound method lives as long
        as its object. Returns the callback. TypeError for what `register` refuses, and for what
        cannot be held weakly.
        """
        self._handlers.add(callback, levels(source, events), weak=True)
        return callback

    def unregister(self, callback: Handler, source: str | None = None, *events: str) -> bool:
        """Remove `callback` where it was registered, with the same source and events.

        Strong and weak; not in other places. True if something was removed.
        """
        return self._handlers.remove(callback, levels(source, events))

    def on(self, source: str | None = None, *events: str) -> Callable[[AnyHandler], AnyHandler]:
        """`register` as a decorator: `@stdevents.on("cache", "drop", "refresh")`."""
        return decorator(self.register, source, events)

    def origin(self) -> Origin | None:
        """In a handler: the host that the event comes from, and its id in the stream of the relay.

        None for an event that no relay brought, and outside a handler.
        """
        found = self._polling.origin()
        if found is None:
            return None
        return Origin(*found)

    # -- looking at it -----------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Counts of this process; NotConfigured if the bus is not open."""
        counts: Stats = self._life.use(lambda seat: seat.stats(self._handlers.failed))
        return counts

    def workers(self) -> list[WorkerInfo]:
        """The live workers of the bus, by slot. NotConfigured; LockTimeout.

        StdeventsError in a signal handler that interrupted a call which holds the lock.
        """
        found = self._life.use(lambda seat: seat.table.workers())
        return [WorkerInfo(*worker) for worker in found]

    def fileno(self) -> int:
        """A descriptor that is readable when there is news: for select, epoll, asyncio.

        `loop.add_reader(bus.fileno(), bus.poll)`: only `poll` makes it unreadable again; do not
        read from it. It stays the same until `close`. Ask for it again in a forked child, and after
        other code has closed it. Use `interval=0`; otherwise the loop polls as well. NotConfigured;
        StdeventsError where there is no epoll (macOS, gevent): poll at intervals there; and with
        role "poster".
        """
        return self._life.use(self._polling.watch_number)


def life_of(bus: Bus) -> Life:
    """The life of a bus, for what is built upon it: asyncio, the relay."""
    return bus._life


#: the bus whose methods are the functions of the package
default = Bus()
