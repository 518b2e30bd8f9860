"""The header of a segment: written once, and checked by everyone who joins."""

from __future__ import annotations

from zlib import crc32

from .layout import (
    HEADER_CHECK,
    HEADER_EPOCH,
    HEADER_LOCK,
    HEADER_MAGIC,
    HEADER_OVERFLOW,
    HEADER_SIZE,
    HEADER_WORDS,
    MAGIC,
    SIGNATURE,
    SMALLEST,
    VERSION,
    WORD,
    Layout,
)

OVERFLOWS = ("drop", "wait")  # as the header has them: 0, 1


def create(words: memoryview, layout: Layout, epoch: int, overflow: str, lock_inode: int) -> None:
    """Fill the header of new memory, all zeros; who finds the magic finds all of it."""
    for index, value in layout.header().items():
        words[index] = value
    words[HEADER_EPOCH] = epoch
    words[HEADER_OVERFLOW] = OVERFLOWS.index(overflow)
    words[HEADER_LOCK] = lock_inode
    words[HEADER_CHECK] = _checksum(words)
    words[HEADER_MAGIC] = MAGIC


def check(memory: memoryview) -> Layout:
    """The layout of the segment that these are the bytes of.

    ValueError if header or length are not sound; its text goes on from "its shared memory".
    """
    if len(memory) < Layout(SMALLEST).total:
        raise ValueError(f"is damaged: it has only {len(memory)} bytes")
    with memory[: HEADER_WORDS * WORD] as header, header.cast("Q") as words:
        magic = words[HEADER_MAGIC]
        if magic >> 8 != SIGNATURE:
            raise ValueError(f"is damaged, or none of ours: it begins with {magic:#x}")
        if magic != MAGIC:
            raise ValueError(
                f"has layout version {magic & 0xFF}, and this stdevents has {VERSION}: "
                "all workers of a bus need versions of stdevents that agree on it"
            )
        layout = Layout(words[HEADER_SIZE])
        if len(memory) < layout.total:
            raise ValueError(f"is damaged: it has {len(memory)} bytes, and needs {layout.total}")
        for index, value in layout.header().items():
            if words[index] != value:
                raise ValueError(f"is damaged: header word {index} is {words[index]}, not {value}")
        if words[HEADER_OVERFLOW] >= len(OVERFLOWS):
            raise ValueError(f"is damaged: header word {HEADER_OVERFLOW} is out of range")
        # Without it a damaged HEADER_LOCK would say that the bus was removed in part.
        if words[HEADER_CHECK] != _checksum(words):
            raise ValueError("is damaged: the checksum of its header is wrong")
    return layout


def word(memory: memoryview, index: int) -> int:
    """One word of the header."""
    with memory[: HEADER_WORDS * WORD] as header, header.cast("Q") as words:
        value: int = words[index]
        return value


def _checksum(words: memoryview) -> int:
    return crc32(words[HEADER_EPOCH : HEADER_LOCK + 1])
