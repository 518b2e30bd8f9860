"""The byte map of a segment: offsets and nothing else.

    header | worker slots | claim slots | event slots | ring

All but the ring are words of 8 bytes, 8-aligned, in native order, so that each is read and
written by one load or one store. Indices are in words, counted from the start of the segment
(header), or from the start of a slot. The header keeps each word that changes often on a cache
line (8 words) of its own, and a worker slot is one.

The ring holds the text of the events, one after the other: of each a JSON array with a comma
behind it,

    [pid,"source","event",data],
    [pid,"source","event",data,"key"],                          with `unique`
    [pid,"source","event",data,"key" or null,"host","entry"],   brought by a relay

Positions in the ring count up for ever; the place of a position is `position % size`.
"""

from __future__ import annotations

WORD = 8
VERSION = 2
SIGNATURE = int.from_bytes(b"stdevnt", "big")
MAGIC = SIGNATURE << 8 | VERSION

# header
HEADER_MAGIC = 0  # SIGNATURE and VERSION; written last
HEADER_EPOCH = 1  # random, different for each bus that was ever created
HEADER_SIZE = 2  # bytes in the ring
HEADER_WORKERS = 3  # worker slots
HEADER_CLAIMS = 4  # claim slots
HEADER_EVENTS = 5  # event slots
HEADER_OVERFLOW = 6  # 0 "drop", 1 "wait"
HEADER_LOCK = 7  # inode of the lock file under which all of this is written
LAST = 8  # id of the last published event
INTENT = 16  # ring position up to which bytes may be being overwritten
INTENT_ID = 17  # id of the last event whose slot may be being overwritten
ROOM_ID = 18  # "wait": id, and ring position, up to which a post overwrites nothing that a live
ROOM_POSITION = 19  # worker has not taken; a lower bound, so 0 is always right
WAITING = 24  # 1: there are sleeping workers
RINGING = 25  # 1: somebody is waking them
HEADER_CHECK = 32  # crc32 of words 1 to 7, which stay as created
JOINS = 33  # how many workers ever joined; the last one's serial
USED = 34  # worker slots that were ever in use: those from here on are free
AWAITED = 35  # the highest event that some process waits for
COMPANION = 40  # 8 words for what travels with events, as the cursor of a relay
CELLS = 48, 52  # and two cells, which are published with an event
HEADER_WORDS = 56

# a cell
CELL_EVENT = 0  # id of the event with which it is published; 0: empty
CELL_WORDS = 4

# a worker slot
WORKER_PID = 0  # 0: free
WORKER_SERIAL = 1  # no other worker of this bus ever had it; kept from slot to slot
WORKER_SINCE = 2  # below, seconds since the epoch; above, how many events it has lost
WORKER_ROLE = 3  # below, 0 worker, 1 listener: takes no `unique`; above, how many had no handler
WORKER_POSITION = 4  # id of the last event that it has taken
WORKER_DONE = 5  # id of the last event whose handlers have returned
WORKER_TASKS = 6  # 1: a handler may go on after it has returned
WORKER_FROM = 7  # POSITION when it joined: the events after it are those that it has to handle
WORKER_WORDS = 8
WORKERS = 1024
SINCE_BITS = 34  # until the year 2514
ROLE_BITS = 8

# a claim slot
CLAIM_KEY = 0  # 128 bits in two words, a hash of the key
CLAIM_TAKEN = 2  # nanoseconds of CLOCK_MONOTONIC
CLAIM_DEADLINE = 3  # likewise; in the past: free
CLAIM_WORKER = 4  # as EVENT_CLAIMED
CLAIM_EVENT = 5
CLAIM_WORDS = 6

# an event slot
EVENT_ID = 0  # 0: being written
EVENT_END = 1  # ring position behind it; it begins at the end of the event before
EVENT_CHECK = 2  # crc32 of its text, begun with EVENT_CHECK of the event before
EVENT_CLAIMED = 3  # 0, or IGNORED, serial and pid of the worker that handles it, or has its key
EVENT_WORDS = 4

CRC32_BITS = (1 << 32) - 1
IGNORED = 1 << 63  # nobody handles it: its key was held
SERIAL_SHIFT = 32  # the pid is below, the serial above

BYTES_PER_EVENT = 256  # of ring for one event slot
SMALLEST = 4 * BYTES_PER_EVENT


class Layout:
    """Where the parts of a segment with a ring of `size` bytes start, and how long it is."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.workers = WORKERS
        self.events = size // BYTES_PER_EVENT
        self.claims = self.events
        self.claims_at = HEADER_WORDS + self.workers * WORKER_WORDS
        self.events_at = -(-(self.claims_at + self.claims * CLAIM_WORDS) // 8) * 8  # whole lines
        self.ring_at = WORD * (self.events_at + self.events * EVENT_WORDS)
        self.total = self.ring_at + size

    def slot_of(self, event_id: int) -> int:
        """Where the slot of the event `event_id` is, in words."""
        return self.events_at + EVENT_WORDS * (event_id % self.events)

    def header(self) -> dict[int, int]:
        """The header's words that follow from the size."""
        return {
            HEADER_SIZE: self.size,
            HEADER_WORKERS: self.workers,
            HEADER_CLAIMS: self.claims,
            HEADER_EVENTS: self.events,
        }
