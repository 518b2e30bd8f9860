"""Large entries: one look takes about a MB, however many it may take by their number."""

from __future__ import annotations

from entries import entry_of
from inside import Position, Stream

LARGE = "x" * 300_000


def test_a_look_ends_where_it_has_enough_bytes(client):
    """Else Redis is silent for all others, and the reader's memory full."""
    for number in range(40):
        client.xadd("stream", entry_of("event", LARGE), f"{number + 1}-1")
    position, looks, entries = Position(0, 0), 0, 0
    while True:
        snapshot = Stream(client, "stream").look(position, 256)
        looks += 1
        entries += len(snapshot.entries)
        assert sum(map(len, snapshot.entries)) < 2_000_000
        if snapshot.is_end:
            break
        last = snapshot.entries[-1].split(b"\n", 1)[0].decode()
        position = Position(*map(int, last.split("-")))
    assert entries == 40
    assert looks >= 8


def test_large_entries_behind_small_ones_are_not_taken_by_their_size(client):
    for number in range(4):
        client.xadd("stream", entry_of("event", number), f"{number + 1}-1")
    for number in range(4, 120):
        client.xadd("stream", entry_of("event", LARGE), f"{number + 1}-1")
    snapshot = Stream(client, "stream").look(Position(0, 0), 256)
    assert sum(map(len, snapshot.entries)) < 40 * len(LARGE)


def test_small_entries_are_taken_by_their_number(client):
    pipeline = client.pipeline()
    for number in range(600):
        pipeline.xadd("stream", entry_of("event", number), f"{number + 1}-1")
    pipeline.execute()
    snapshot = Stream(client, "stream").look(Position(0, 0), 256)
    assert (len(snapshot.entries), snapshot.is_end) == (256, False)


def test_entries_of_all_sizes_come_in_their_order(host, client):
    a = host("a", size="16m", start="oldest", relayed=False)
    pipeline = client.pipeline()
    for number in range(300):
        pipeline.xadd("stream", entry_of("event", [number, "x" * (number % 7) ** 6]))
    pipeline.execute()
    a.join(client)
    a.wait_for(lambda: len(a.seen) == 300)
    assert [data[0] for _, data in a.seen] == list(range(300))


def test_ids_may_be_larger_than_numbers_of_a_script(host, client):
    """Sequences beyond 2^53, during a look that asks Redis several times."""
    a = host("a", start="oldest", relayed=False)
    first = (1 << 63) + 1
    pipeline = client.pipeline()
    for number in range(20):
        pipeline.xadd("stream", entry_of("event", number), f"5-{first + number}")
    pipeline.execute()
    a.join(client)
    a.wait_for(lambda: len(a.seen) == 20)
    assert [data for _, data in a.seen] == list(range(20))
