"""The stream in Redis, as a relay asks for it.

An entry is `v 1 host HOST pid PID event JSON`, the JSON being `[source, event, data]`, with the key
of `unique` behind it if there is one. Each host has a consumer group, which says how far it is.
Beside the stream there are, under names that begin with `{stream}:`,

    told            by which entry a poster has told last that Redis has lost entries
    post:TOKEN      number and entry of the last post of one poster: a post that is sent again
                    after its connection was lost is not added again
    unique          which host has which `unique` event, as long as the event is in the stream
    unique:HASH     of a `unique` key, as long as that is held
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence

from .._errors import RelayError
from .client import Script
from .ids import LARGEST_ID, UNKNOWN, Position, following, parse, written
from .scripts import ADD, CLAIM, FIND, FIRST_LOOK, LOOK
from .snapshot import Snapshot, check_of
from .wait import Waiter

if TYPE_CHECKING:
    from .ids import EntryId

GONE, ELSEWHERE, OURS = -1, 0, 1  # how a claim ends
SLOTTED = re.compile(r"[^{}]*|[^{}]*\{[^{}]+\}.*")  # without braces, or with what is in them


class Added(NamedTuple):
    """The answer to a post."""

    entry: str
    gone: bool  # what the same poster posted before is not on the stream any more


class Origin(NamedTuple):
    """What all posts of a process have in common, as Redis is given it."""

    maxlen: bytes  # nothing: all entries are kept
    host: bytes
    pid: bytes

    @staticmethod
    def of_process(maxlen: int | None, host: str) -> Origin:
        """That of this one."""
        most = b"" if maxlen is None else b"%d" % maxlen
        return Origin(most, host.encode(), b"%d" % os.getpid())


class Stream:
    """One stream of a client; its methods raise RelayError for all that the client raises.

    The text of an entry is its id, and, if a relay of this version has written it, the pid, the
    host and the JSON behind it, a line each.
    """

    def __init__(self, client: Any, name: str) -> None:
        self.name = name
        self._client = client
        # As all that a client is given: it takes longer for text, which it may be told to encode
        # otherwise, so that one name would be two keys.
        self._key = name.encode()
        beside = f"{name}:" if "{" in name else f"{{{name}}}:"  # one slot of a cluster
        self._beside = beside.encode()
        scripts = [Script(client, text) for text in (ADD, LOOK, CLAIM, FIND)]
        self._add, self._look, self._claim, self._find = scripts
        self._waiter = Waiter(client, self._key)

    # -- post --------------------------------------------------------------------------------------

    def add(
        self,
        events: Sequence[bytes],
        origin: Origin,
        poster: bytes,
        number: int,
        answered: bytes,
    ) -> Added:
        """Put events on the stream, all or none; those of a `number` that is known only once.

        `poster` is a key of `new_poster`, and `answered` the number and the entry of the last post
        of it that was answered, or nothing.
        """
        keys = self._key, poster, self._beside + b"told"
        answer = self._ask(self._add, keys, (b"%d" % number, answered, *origin, *events))
        entry, _, gone = answer.decode().partition(" ")
        return Added(entry, bool(gone))

    def new_poster(self) -> bytes:
        """The key under which Redis knows the last post of one poster, which nobody else is."""
        return self._beside + b"post:" + secrets.token_hex(8).encode()

    # -- read --------------------------------------------------------------------------------------

    def look(self, after: Position, count: int) -> Snapshot:
        """The stream now, with some of the entries after a position, `count` at most."""
        last, first, length, added, deleted, is_more, *texts = self._ask(
            self._look, [self._key], [str(after).encode(), b"%d" % (count + 1)]
        )
        at = texts.pop(0) if texts and _id_of(texts[0]) == after.entry else None
        del texts[count:]
        return Snapshot(
            parse(last),
            parse(first) if first else following(parse(last)),
            length,
            min(added, UNKNOWN) if added >= 0 else UNKNOWN,
            parse(deleted) if deleted else LARGEST_ID,
            not is_more,
            at,
            texts,
        )

    def glance(self, after: Position) -> Snapshot | None:
        """The few entries after a position, by one command in place of three.

        None if a look is needed, as the entry at the position is not there as it was. Where it is,
        nothing after it is gone.
        """
        found = self._ask(self._client.xrange, self._key, str(after), "+", FIRST_LOOK + 1)
        texts = [_text_of(entry, fields) for entry, fields in found]
        if not texts or _id_of(texts[0]) != after.entry or check_of(texts[0]) != after.check:
            return None
        last, is_end = _id_of(texts[-1]), len(texts) <= FIRST_LOOK
        is_known = is_end and after.added != UNKNOWN
        added = after.added + len(texts) - 1 if is_known else UNKNOWN
        return Snapshot(last, after.entry, 0, added, (0, 0), is_end, texts[0], texts[1:])

    def text_of(self, entry: EntryId) -> bytes | None:
        """The text of one entry; None: it is not there."""
        at = written(entry)
        found = self._ask(self._client.xrange, self._key, at, at)
        return _text_of(*found[0]) if found else None

    def find(self, entries: Sequence[EntryId]) -> int:
        """Which of these entries is the first that is there? Its index, or -1."""
        ids = [written(entry).encode() for entry in entries]
        found: int = self._ask(self._find, [self._key], ids)
        return found - 1

    def is_waiting(self, place: Position) -> bool:
        """Was Redis asked for what comes after a place, and has not answered yet?"""
        return self._waiter.asked == str(place)

    def wait(self, place: Position, seconds: float) -> bool | None:
        """Has something come after a place? None: there was no answer yet, for so many seconds."""
        has_come: bool | None = self._ask(self._waiter.wait, str(place), seconds)
        return has_come

    def leave(self) -> None:
        """Wait no more."""
        with contextlib.suppress(RelayError):
            self._ask(self._waiter.leave)

    def forked(self) -> None:
        """In a forked child."""
        self._waiter.forked()

    def claim(self, wanted: list[tuple[str, str]], holder: str, timeout: float) -> list[int]:
        """Whose are these events with `unique`, each (entry, key)? OURS, ELSEWHERE, or GONE."""
        if not wanted:
            return []
        keys = [self._key, self._beside + b"unique"]
        for _, key in wanted:
            digest = blake2b(key.encode(), digest_size=16).hexdigest()
            keys.append(self._beside + b"unique:" + digest.encode())
        milliseconds = b"%d" % max(1, int(1000 * timeout))
        entries = [entry.encode() for entry, _ in wanted]
        arguments = [holder.encode(), milliseconds, *entries]
        answers: list[int] = self._ask(self._claim, keys, arguments)
        return answers

    # -- the place of a host -----------------------------------------------------------------------

    def kept(self, group: bytes) -> Position | None:
        """The place that was kept for a host; None: there is none."""
        for one in self._ask(self._groups):
            if one["name"] == group:
                read = one.get("entries-read")
                added = UNKNOWN if read is None else min(read, UNKNOWN)
                return Position(*parse(one["last-delivered-id"]), added)
        return None

    def _groups(self) -> Any:
        try:
            return self._client.xinfo_groups(self._key)
        except Exception as error:
            if "no such key" in str(error):
                return []
            raise

    def keep(self, group: bytes, place: Position) -> None:
        """Keep the place of a host, as its consumer group."""
        self._ask(self._set_group, group, place)

    def _set_group(self, group: bytes, place: Position) -> None:
        counted = {} if place.added == UNKNOWN else {"entries_read": place.added}
        try:
            self._client.xgroup_setid(self._key, group, str(place), **counted)
        except Exception as error:
            if not ("NOGROUP" in str(error) or "requires the key to exist" in str(error)):
                raise
            self._client.xgroup_create(self._key, group, str(place), mkstream=True, **counted)

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        # Exception: the client's errors are unknown here, where no client is imported.
        try:
            return question(*arguments)
        except Exception as error:
            raise RelayError(f"stream {self.name!r}: {type(error).__name__}: {error}") from error


def check_braces(name: str) -> None:
    """ValueError for a name beside which no other could be in the same slot of a cluster."""
    if not SLOTTED.fullmatch(name):
        raise ValueError(
            f"stream: {name!r} cannot be one; where there are braces, the first ones hold what a "
            "cluster goes by, as in 'my-app:{events}'"
        )


def _id_of(text: bytes) -> EntryId:
    return parse(text.split(b"\n", 1)[0])


def _text_of(entry: bytes, fields: dict[bytes, bytes]) -> bytes:
    if list(fields) != [b"v", b"host", b"pid", b"event"] or fields[b"v"] != b"1":
        return entry
    return b"\n".join((entry, fields[b"pid"], fields[b"host"], fields[b"event"]))
