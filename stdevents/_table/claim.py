"""Claim (C): which worker handles an event that only one may; all of it under the lock.

A mark in the event's slot decides, never the key alone. So it holds for workers that come to the
event late, when its key has long expired. The key only decides about later events: it stands in
one of PLACES claim slots from its hash on, until its deadline.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

from .._system.clock import monotonic_ns
from .layout import (
    CLAIM_DEADLINE,
    CLAIM_EVENT,
    CLAIM_KEY,
    CLAIM_TAKEN,
    CLAIM_WORDS,
    CLAIM_WORKER,
    EVENT_CLAIMED,
    HEADER_EPOCH,
    IGNORED,
    INTENT_ID,
    SERIAL_SHIFT,
    WORD,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .layout import Layout

PLACES = 128  # in which a key may stand
LONGEST = (1 << 63) - 1  # nanoseconds

PID = (1 << SERIAL_SHIFT) - 1  # the bits of a CLAIMED word that are the pid

# How a claim ended: this worker handles the event; it does, and the key could not be held; another
# one does, or nobody; the event is overwritten.
MINE, MINE_NOT_HELD, IGNORE, LOST = range(4)

_halves = Struct("=2Q").unpack_from


class Claims:
    """The claims of one bus."""

    def __init__(self, words: memoryview, layout: Layout) -> None:
        self._layout = layout
        self._words = words
        self._places = min(PLACES, layout.claims)
        self._epoch = words[HEADER_EPOCH : HEADER_EPOCH + 1].tobytes()

    def take(self, event_id: int, key: str, timeout: float, worker: int) -> tuple[int, int]:
        """Make `worker` the only one to handle the event, if no other is, or has its key.

        How that ended, and the pid of the worker that handles it, or has its key.
        """
        words, layout = self._words, self._layout
        slot = layout.slot_of(event_id)
        if words[slot] != event_id or words[INTENT_ID] >= event_id + layout.events:
            return LOST, 0
        claimed = words[slot + EVENT_CLAIMED]
        if claimed == worker:  # C1: an exception came after C4, and before its handlers
            return MINE, 0
        if claimed:  # C1: decided already
            return IGNORE, claimed & PID
        now = monotonic_ns()
        key_hash = blake2b(key.encode(errors="surrogatepass"), digest_size=16, key=self._epoch)
        place, has_key, held = self._find(key_hash.digest(), now)
        if held and words[place + CLAIM_EVENT] != event_id:  # C2: ignored, for everybody
            holder = words[place + CLAIM_WORKER]
            words[slot + EVENT_CLAIMED] = holder | IGNORED
            return IGNORE, holder & PID
        if place:
            words[place + CLAIM_DEADLINE] = 0  # C3: the key is ours; free until all of it is there
            if not has_key:
                high, low = _halves(key_hash.digest())
                words[place + CLAIM_KEY] = high
                words[place + CLAIM_KEY + 1] = low
            words[place + CLAIM_WORKER] = worker
            words[place + CLAIM_EVENT] = event_id
            words[place + CLAIM_TAKEN] = now
            words[place + CLAIM_DEADLINE] = now + min(int(timeout * 1e9), LONGEST)  # C3: it counts
        words[slot + EVENT_CLAIMED] = worker  # C4: the event is ours
        return MINE if place else MINE_NOT_HELD, 0

    def _find(self, key: bytes, now: int) -> tuple[int, bool, bool]:
        """Where the key stands, or may: an index, 0 if there is no place. Is it there; is it alive?

        A free or expired place is taken only if the key is in none: one that was taken before
        those in front of it expired stands further on.
        """
        words, layout = self._words, self._layout
        claims, places = layout.claims, self._places
        first = _halves(key)[0] % claims
        # At most two stretches of memory, since the last slot is followed by the first.
        until = min(claims, first + places)
        free = 0
        for start, stop in ((first, until), (0, first + places - until)):
            at = layout.claims_at + CLAIM_WORDS * start
            stretch = words[at : layout.claims_at + CLAIM_WORDS * stop].tobytes()
            found = self._key_in(stretch, key)
            if found >= 0:
                place = at + found
                return place, True, self._is_alive(place, now)
            for place in range(at, at + CLAIM_WORDS * (stop - start), CLAIM_WORDS):
                if free:
                    break
                if not self._is_alive(place, now):
                    free = place
        return free, False, False

    @staticmethod
    def _key_in(stretch: bytes, key: bytes) -> int:
        """The word in it at which a slot with this key begins, or -1."""
        found = stretch.find(key)
        while found >= 0 and found % (WORD * CLAIM_WORDS):
            found = stretch.find(key, found + 1)
        return found // WORD if found >= 0 else -1

    def _is_alive(self, place: int, now: int) -> bool:
        # One that was taken in the future is damaged, or the clock has begun again since.
        taken, deadline = self._words[place + CLAIM_TAKEN], self._words[place + CLAIM_DEADLINE]
        return bool(taken <= now < deadline)
