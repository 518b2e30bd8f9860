"""The posts of a relay in one process: to the stream, or into the buffer while Redis is away.

A refusal keeps nothing: it is told to who posts, or, of a post from the buffer, to the log.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from .._bus import codec
from .._errors import NotConfigured, PayloadTooLarge, RelayError
from .._log import WARNING, report
from .._system.clock import monotonic
from .client import is_away
from .contact import POST, is_told
from .ids import LARGEST_ID, written
from .records import encode_relayed, without_pid
from .scripts import REMEMBERED
from .stream import Origin

if TYPE_CHECKING:
    from collections import Counter
    from typing import Sequence

    from .contact import Contact
    from .stream import Stream

LONGEST_ID = written(LARGEST_ID)
# Of one request: Redis does nothing else meanwhile, some hundredths of a second.
MOST_EVENTS = 4096
MOST_BYTES = 4 << 20  # of more events than one, which may be as large as the ring
FORGOTTEN = REMEMBERED / 2000  # seconds, after which Redis may have forgotten the last post


class Poster(NamedTuple):
    """What a post is known by when it is sent once more, and what is known of the one before."""

    key: bytes
    number: int
    answered: bytes = b""  # its number and entry; nothing: there was none
    at: float = 0.0  # on the clock

    def next(self) -> Poster:
        """The poster of one more post."""
        return Poster(self.key, self.number + 1, self.answered, self.at)

    def now(self) -> Poster:
        """Without what Redis may have forgotten by now."""
        return Poster(self.key, self.number) if monotonic() > self.at + FORGOTTEN else self

    def answer(self, entry: str) -> Poster:
        """The poster after its post was answered."""
        return Poster(self.key, self.number, f"{self.number} {entry}".encode(), monotonic())


class Waiting(NamedTuple):
    """A post, of one event or several, that waits until Redis is reached."""

    payloads: tuple[bytes, ...]
    poster: Poster


class PostOptions(NamedTuple):
    """What a relay was given."""

    maxlen: int | None
    buffer: int
    host: str


class Posting:
    """Of one relay in one process; a forked child has one of its own, with nothing in it."""

    def __init__(
        self,
        bus: str,
        stream: Stream,
        options: PostOptions,
        contact: Contact,
        counts: Counter[str],
    ) -> None:
        self._bus = bus
        self._stream = stream
        maxlen, self._buffer, host = options
        self._origin = Origin.of_process(maxlen, host)
        self._contact = contact
        self._counts = counts
        plain, origin = codec.encode("a", "b", None), (os.getpid(), host, LONGEST_ID)
        # How much longer an event is on a bus than what its poster has encoded.
        self._longer = len(encode_relayed("a", "b", None, None, *origin)) - len(plain)
        #: posts that wait until Redis is reached
        self.waiting: deque[Waiting] = deque()
        self._buffered = 0  # events in there
        self._is_closed = False
        self._queueing = threading.RLock()
        self._queue = self._sent = self._new_poster()  # of the buffer: at its end, and sent last
        # Each is used for one post at a time. A thread that finds none makes one more.
        self._posters: deque[Poster] = deque()

    def _new_poster(self) -> Poster:
        return Poster(self._stream.new_poster(), 0)

    def buffered(self) -> int:
        """How many events wait until Redis is reached."""
        return self._buffered

    def post(self, records: Sequence[bytes], size: int) -> str | None:
        """Put encoded events on the stream, or into the buffer, all or none: the last one's entry.

        `size` is that of the ring. PayloadTooLarge; RelayError.
        """
        payloads = tuple([self._payload(record, size) for record in records])
        if len(payloads) > 1:
            self._check_bounds(len(payloads), sum(map(len, payloads)))
        # Also where only reading has found it out: else this post waits as long as the client does.
        if self._buffer and (self.waiting or self._contact.is_away):
            self._keep(payloads, None)
            return None
        try:
            poster = self._posters.pop()
        except IndexError:
            poster = self._new_poster()
        poster = poster.next().now()
        try:
            entry = self._add(payloads, poster)
        except RelayError as error:
            if is_away(error):
                self._contact.failed(POST, error)
                if self._buffer:
                    self._keep(payloads, poster)
                    return None
            self._posters.append(poster)
            raise
        self._posters.append(poster.answer(entry))
        return entry

    def _payload(self, record: bytes, size: int) -> bytes:
        length = len(record) + self._longer
        if length > size:
            raise PayloadTooLarge(
                f"bus {self._bus!r}: the event takes {length} bytes as JSON, with where it comes "
                f"from, and the ring has {size}; post less at once, or configure a larger size",
                length,
                size,
            )
        return without_pid(record)

    def _check_bounds(self, count: int, length: int) -> None:
        if count > MOST_EVENTS:
            have, most, value, limit = "", f"{MOST_EVENTS} events", count, MOST_EVENTS
        elif length > MOST_BYTES:
            have, most = f" take {length} bytes as JSON, and", f"{MOST_BYTES} bytes"
            value, limit = length, MOST_BYTES
        else:
            return
        raise PayloadTooLarge(
            f"stream {self._stream.name!r}: the {count} events together{have} are more than the "
            f"{most} that one request may take; post them in several",
            value,
            limit,
        )

    def _add(self, payloads: tuple[bytes, ...], poster: Poster) -> str:
        try:
            added = self._stream.add(
                payloads, self._origin, poster.key, poster.number, poster.answered
            )
        except RelayError as error:
            if not is_away(error):
                self._contact.succeeded(POST)
            raise
        self._count("posted", payloads)
        self._contact.succeeded(POST)
        if added.gone:
            what = (
                "bus %r: Redis has lost what was posted to stream %r up to %s, or more: all hosts "
                "are told; have it persist what it has"
            )
            entry = poster.answered.decode().split()[1]
            report(what, self._bus, self._stream.name, entry, level=WARNING)
        return added.entry

    def _count(self, what: str, payloads: tuple[bytes, ...]) -> None:
        with self._queueing:  # of two threads at once neither is to be missed
            self._counts[what] += len(payloads)

    def _keep(self, payloads: tuple[bytes, ...], poster: Poster | None) -> None:
        with self._queueing:
            if self._is_closed:
                raise NotConfigured("the relay was closed during this post; make another one")
            if self._buffered + len(payloads) > self._buffer:
                raise RelayError(
                    f"stream {self._stream.name!r}: Redis is away, and buffer={self._buffer} "
                    f"events are the most that wait for it; {self._buffered} do, and "
                    f"{len(payloads)} more would; post later, or give the relay a larger one"
                )
            self.waiting.append(Waiting(payloads, poster or self._poster_of_buffer()))
            self._buffered += len(payloads)

    def _poster_of_buffer(self) -> Poster:
        # First one that has posted, so that it is noticed where Redis comes back without that.
        try:
            return self._posters.pop().next()
        except IndexError:
            self._queue = self._queue.next()
            return self._queue

    def send_next(self) -> None:
        """Put on the stream what has waited longest; RelayError if Redis is away."""
        first = self.waiting[0]
        payloads, poster = first
        is_of_queue = poster.key == self._sent.key
        if is_of_queue:  # what is known of the one before is known by now
            poster = self._sent._replace(number=poster.number)
        try:
            entry = self._add(payloads, poster.now())
        except RelayError as error:
            if is_away(error):
                raise
            before = self._counts["refused"]
            self._count("refused", payloads)
            if is_told(before, self._counts["refused"]):
                what = "bus %r: %s; a post from the buffer is dropped, %d events so far"
                report(what, self._bus, error, self._counts["refused"], level=WARNING)
        else:
            poster = poster.answer(entry)
            if is_of_queue:
                self._sent = poster
        if not is_of_queue:
            self._posters.append(poster)
        with self._queueing:
            if self.waiting and self.waiting[0] is first:  # else all were dropped meanwhile
                self.waiting.popleft()
                self._buffered -= len(payloads)

    def drop(self) -> None:
        """Drop what waits, with a warning, and keep nothing more."""
        with self._queueing:
            self._is_closed = True
            dropped, self._buffered = self._buffered, 0
            self.waiting.clear()
        if dropped:
            what = "bus %r: its relay was closed with %d posts in the buffer, which are dropped"
            report(what, self._bus, dropped, level=WARNING)
