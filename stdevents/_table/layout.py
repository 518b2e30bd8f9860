"""The byte map of a segment: offsets and nothing else.

    header | worker slots | claim slots | event slots | ring

All but the ring are words of 8 bytes, 8-aligned, in native order, so that each is read and
written by one load or one store. Indices are in words, counted from the start of the segment
(header), or from the start of a slot. The header keeps each word that changes on a cache line
of its own.
"""

from __future__ import annotations

WORD = 8
VERSION = 1
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
HEADER_CHECK = 26  # crc32 of words 1 to 7, which stay as created
RELAY_STREAM = 32  # hash of the stream's name; 0: no relay has been here
RELAY_TERM = 33  # how often a reader of the stream was elected
RELAY_READER = 34  # worker slot of the reader, plus 1; 0: none
RELAY_UNTIL = 35  # nanoseconds of CLOCK_MONOTONIC up to which it is elected
RELAY_CELLS = 40, 44  # one of them says how far into the stream the bus has come
HEADER_WORDS = 48

# a relay cell
CELL_EVENT = 0  # id of the event with which it is published; 0: empty
CELL_MILLISECONDS = 1  # this and the next: the id of an entry of the stream
CELL_SEQUENCE = 2
CELL_ADDED = 3  # how many entries the stream has ever had up to that one; all ones: unknown
CELL_WORDS = 4

# a worker slot
WORKER_PID = 0  # 0: free
WORKER_SINCE = 1  # seconds since the epoch
WORKER_POSITION = 2  # id of the last event that it has taken
WORKER_WORDS = 8
WORKERS = 1024

# a claim slot
CLAIM_KEY_HIGH = 0  # 128 bits, a hash of the key
CLAIM_KEY_LOW = 1
CLAIM_DEADLINE = 2  # nanoseconds of CLOCK_MONOTONIC; in the past: free
CLAIM_PID = 3
CLAIM_EVENT = 4
CLAIM_WORDS = 5

# an event slot
EVENT_ID = 0  # 0: being written
EVENT_POSITION = 1  # where in the ring it starts
EVENT_LENGTH = 2  # bytes
EVENT_PID = 3  # the poster's
EVENT_FLAGS = 4
EVENT_CHECKSUM = 5  # crc32 of words 1 to 4 and payload, begun with the id
EVENT_CLAIMED = 6  # 0, or the pid of the worker that handled it, or that holds its key
EVENT_WORDS = 8

FLAG_UNIQUE = 1
FLAG_RELAYED = 2  # it came from a stream
NAMES_SHIFT = 8  # flags from this bit on: length of the payload before data, that is the names

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
