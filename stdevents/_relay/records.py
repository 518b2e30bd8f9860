"""Records of events as a relay changes them: with where they are from, or without their pid."""

from __future__ import annotations

from .._bus import codec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def encode_relayed(
    source: str, event: str, data: Any, unique: str | int | None, pid: int, host: str, entry: str
) -> bytes:
    """The record of an event that process `pid` of another host posted, with where it is from.

    Raises what `codec.encode` does.
    """
    ours = codec.encode(source, event, data, unique)
    more = "" if unique is not None else ",null"
    origin = f"{more},{codec.to_json(host)},{codec.to_json(entry)}],".encode()
    return b"[%d%b%b" % (pid, ours[ours.index(b",") : -2], origin)


def without_pid(record: bytes) -> bytes:
    """The JSON array `[source, event, data]`, or with the key behind, of an encoded event."""
    return b"[" + record[record.index(b",") + 1 : -1]
