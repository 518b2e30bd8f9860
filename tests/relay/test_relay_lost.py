"""What is not on the stream any more is told as lost."""

from __future__ import annotations

import re

import pytest
from entries import entry_of, lost, only
from inside import (
    Position,
    as_before_redis_7,
    batches_from,
    new_reader,
    read_twice_and_resign,
    stopped,
)

import stdevents


def late(host, client, trim, **options):
    """A host that has read entry 1-1, while 2-1 to 10-1 came, and the stream was changed."""
    b = host("b", **options)
    client.xadd("stream", entry_of("event", 1), "1-1")
    b.until(("event", 1))
    b.relay.close()
    for number in range(2, 11):
        client.xadd("stream", entry_of("event", number), f"{number}-1")
    trim(client)
    b.relay = stdevents.Relay(b.bus, client, "stream")
    return b


def test_what_was_trimmed_is_told_and_counted_before_what_comes_next(host, client, caplog):
    """G3, for streams."""
    b = late(host, client, lambda client: client.xtrim("stream", 4, approximate=False))
    gone = lost(count=5, first="1-2", last="7-0")
    b.until(("event", 1), gone, *only(range(7, 11)))
    b.wait_for(lambda: caplog.messages)  # counted, and told, afterwards
    assert b.relay.stats().gaps == len(caplog.messages) == 1
    assert "1-2 to 7-0 (5)" in caplog.text


def test_what_was_trimmed_is_told_to_every_worker_of_the_host(host, client, fork, name):
    b = host("b")
    client.xadd("stream", entry_of("event", 1), "1-1")
    b.until(("event", 1))
    b.relay.close()

    def work(parent):
        parent.tell()
        b.wait_for(lambda: ("event", 4) in b.seen)
        return b.seen

    worker = fork(work)
    worker.hear()
    for number in (2, 3, 4):
        client.xadd("stream", entry_of("event", number), f"{number}-1")
    client.xtrim("stream", 1, approximate=False)
    b.relay = stdevents.Relay(b.bus, client, "stream")
    told = [("event", 1), lost(count=2, first="1-2", last="4-0"), ("event", 4)]
    b.until(*told)
    assert worker.result() == told


def test_a_stream_that_was_trimmed_to_nothing_is_told_too(host, client):
    b = late(host, client, lambda client: client.xtrim("stream", 0, approximate=False))
    b.until(("event", 1), lost(count=9, first="1-2", last="10-1"))
    client.xadd("stream", entry_of("event", 11), "11-1")
    b.until(("event", 1), lost(count=9, first="1-2", last="10-1"), ("event", 11))


def test_nothing_is_lost_where_only_what_was_read_is_trimmed(host, client):
    b = late(host, client, lambda client: client.xtrim("stream", 9, approximate=False))
    b.until(*only(range(1, 11)))
    assert b.relay.stats().gaps == 0


def test_a_stream_trimmed_while_it_is_idle_has_lost_nothing(host, client):
    a = host("a")
    for number in range(3):
        a.relay.post("test", "event", number)
    a.until(*only(range(3)))
    client.xtrim("stream", 0, approximate=False)
    a.relay.post("test", "event", 3)
    a.until(*only(range(4)))


def test_the_count_holds_when_the_stream_was_read_in_full_batches(host, client):
    """Each entry that is read is counted, not only what Redis says at the end of a stream."""
    b = host("b")
    b.relay.close()
    pipeline = client.pipeline()
    for number in range(1, 1001):
        pipeline.xadd("stream", entry_of("event", number), f"{number}-1")
    pipeline.execute()
    read_twice_and_resign(b.relay)
    client.xtrim("stream", 10, approximate=False)
    b.relay = stdevents.Relay(b.bus, client, "stream")
    gone = lost(count=1000 - 512 - 10, first="512-2", last="991-0")
    b.until(*only(range(1, 513)), gone, *only(range(991, 1001)))


def test_before_redis_7_what_is_lost_is_told_without_a_count(host, client, monkeypatch):
    as_before_redis_7(monkeypatch)
    client.xadd("stream", {"it": "is there"}, "0-1")
    b = late(host, client, lambda client: client.xtrim("stream", 4, approximate=False))
    b.until(("event", 1), lost(first="1-2", last="7-0"), *only(range(7, 11)))


def test_an_entry_that_somebody_deleted_is_no_loss(host, client):
    """It was taken out of the order for all, on purpose."""
    b = late(host, client, lambda client: client.xdel("stream", "5-1"))
    b.until(*only((1, 2, 3, 4, 6, 7, 8, 9, 10)))


def test_the_last_one_read_deleted_beside_a_later_one_is_told_as_lost(host, client):
    """Redis says only which id was the greatest of those. Nothing comes twice."""
    a = host("a")
    for number in (1, 2):
        client.xadd("stream", entry_of("event", number), f"{number}-1")
    a.until(*only((1, 2)))
    with stopped(a.relay):
        for number in (3, 4):
            client.xadd("stream", entry_of("event", number), f"{number}-1")
        client.xdel("stream", "3-1", "2-1")
    a.until(*only((1, 2)), lost(), ("event", 4))


def test_what_was_trimmed_is_not_counted_where_others_were_deleted(host, client):
    def trim(client):
        client.xdel("stream", "8-1")
        client.xtrim("stream", 4, approximate=False)

    late(host, client, trim).until(
        ("event", 1), lost(first="1-2", last="6-0"), *only((6, 7, 9, 10))
    )


def test_a_stream_that_was_made_anew_is_told(host, client):
    """Nobody knows what was in it."""
    a = host("a")
    client.xadd("stream", entry_of("event", 1), "5-1")
    a.until(("event", 1))
    client.delete("stream")
    a.until(("event", 1), lost())
    client.xadd("stream", entry_of("event", 2), "1-1")
    a.until(("event", 1), lost(), ("event", 2))


def test_a_stream_made_anew_further_on_is_told_and_all_in_it_is_new(host, client):
    def renew(client):
        client.delete("stream")
        client.xadd("stream", entry_of("event", 11), "11-1")

    b = late(host, client, renew)
    # One was read, and one was added: it cannot be told from the old one by counting.
    client.xadd("stream", entry_of("event", 12), "12-1")
    b.wait_for(lambda: ("event", 12) in b.seen)
    assert [seen for seen in b.seen if seen[0] == "event"] == only((1, 11, 12))


def test_a_redis_that_forgot_everything_is_told_and_gone_on_with(host, server, client):
    """That is what it does without persistence."""
    a = host("a")
    client.xadd("stream", entry_of("event", 1))
    client.xadd("stream", entry_of("event", 2))
    a.until(*only((1, 2)))
    client.flushall()
    a.until(*only((1, 2)), lost())
    a.relay.post("test", "event", 3)
    a.until(*only((1, 2)), lost(), ("event", 3))


def test_an_event_larger_than_the_ring_of_a_host_is_lost_there(host, caplog):
    a, b = host("a"), host("b", size=4096)
    entry = a.relay.post("test", "large", "x" * 5000)
    a.relay.post("test", "event", 1)
    b.until(lost(count=1, first=entry, last=entry), ("event", 1))
    b.wait_for(lambda: caplog.messages)  # told afterwards
    told = (
        rf"event {entry} of stream 'stream' is lost .* 5\d\d\d bytes, .* 4096; configure a larger"
    )
    assert re.search(told, caplog.text)
    with pytest.raises(stdevents.PayloadTooLarge, match=r"takes 5\d\d\d bytes .* 4096"):
        b.relay.post("test", "large", "x" * 5000)


def test_overflow_wait_leaves_on_the_stream_what_a_worker_has_not_taken(host, client):
    """Nothing is lost however slow it is; and local events go on."""
    a = host("a", size=4096, overflow="wait")
    pipeline = client.pipeline()
    for number in range(500):
        pipeline.xadd("stream", entry_of("event", number))
    pipeline.execute()
    a.until(*only(range(500)))
    assert a.relay.stats().skipped == a.relay.stats().gaps == a.bus.stats().lost == 0


def test_a_batch_is_a_part_of_the_ring_only(host, client):
    """Else it overwrites, with overflow="drop", what no worker could have read yet."""
    a = host("a", size=4096)
    a.relay.close()
    for _ in range(8):
        client.xadd("stream", entry_of("event", "x" * 450))
    batches = batches_from(new_reader(a), Position(0, 0, 0), 100)
    assert sum(len(batch.records) for batch in batches) == 8
    assert all(sum(map(len, batch.records)) <= 1024 for batch in batches)
    assert all(len(batch.records) <= 4 for batch in batches)


def test_what_was_trimmed_is_not_counted_after_a_deletion_that_was_passed(host, client):
    """A few entries are read without asking what was deleted among them."""
    a = host("a")
    for number in (1, 2, 3):
        client.xadd("stream", entry_of("event", number), f"{number}-1")
    a.until(*only((1, 2, 3)))
    with stopped(a.relay):
        for number in (4, 5, 6):
            client.xadd("stream", entry_of("event", number), f"{number}-1")
        client.xdel("stream", "5-1")
    a.until(*only((1, 2, 3, 4, 6)))
    with stopped(a.relay):
        for number in (7, 8, 9):
            client.xadd("stream", entry_of("event", number), f"{number}-1")
        client.xtrim("stream", 1, approximate=False)
    a.until(*only((1, 2, 3, 4, 6)), lost(first="6-2", last="9-0"), ("event", 9))
