"""The relay: what the hosts of a stream see of each other, with a real redis-server."""

from __future__ import annotations

import json
import logging
import os
import pickle
import time

import pytest

import stdevents
from stdevents._cli import outside
from stdevents._cli.check import check
from stdevents._cli.tail import _lines
from stdevents._relay import stream as _stream
from stdevents._relay.stream import Position
from stdevents._table.layout import CELLS


def only(events):
    """What a host sees of these, posted with their number."""
    return [("event", number) for number in events]


# -- order -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [None, "127.0.0.1"], indirect=True)
def test_all_hosts_see_the_events_of_all_hosts_in_the_order_of_the_stream(host):
    """Over a unix socket, and over the loopback."""
    hosts = [host(suffix) for suffix in "abc"]
    entries = [hosts[number % 3].relay.post("test", "event", number) for number in range(300)]
    for one in hosts:
        one.until(*only(range(300)))
        assert [origin.entry for _, origin in one.told] == entries
        assert [origin.host for _, origin in one.told[:3]] == ["host a", "host b", "host c"]
        assert {pid for pid, _ in one.told} == {os.getpid()}


def test_what_is_posted_on_a_bus_stays_on_its_host(host):
    a, b = host("a"), host("b")
    a.bus.post("test", "local", 1)
    a.relay.post("test", "event", 2)
    b.until(("event", 2))
    a.until(("local", 1), ("event", 2))
    assert a.told[0] == (os.getpid(), None)


def test_the_origin_is_that_of_the_event_whose_handler_asks(host):
    a = host("a")
    origins = []

    def handler(data, event, source, pid):
        origins.append((data, a.bus.origin()))
        if data == 1:
            a.bus.post_local("test", "event", 2)
            a.bus.post("test", "event", 3)

    a.bus.register(handler, "test")
    entry = a.relay.post("test", "event", 1)
    a.wait_for(lambda: len(origins) == 3)
    assert dict(origins) == {1: stdevents.Origin("host a", entry), 2: None, 3: None}
    assert a.bus.origin() is None


def test_any_data_arrives_as_it_was_posted(host):
    a, b = host("a"), host("b")
    data = [None, True, 1.5, 10**30, "é\n\x00\ud7ff", {"deep": [[{}]]}, "x" * 10_000]
    for one in data:
        a.relay.post("test", "é\n", one, unique=None)
    b.until(*[("é\n", one) for one in data])


# -- where a bus begins ----------------------------------------------------------------------------


def test_a_new_host_begins_with_what_is_posted_from_then_on(host):
    a = host("a")
    a.relay.post("test", "event", 1)
    b = host("b")
    a.relay.post("test", "event", 2)
    b.until(("event", 2))
    a.until(("event", 1), ("event", 2))


def test_a_new_host_may_begin_with_the_oldest_there_is(host, client):
    """And is told of no loss of what was gone long before it."""
    a = host("a")
    for number in range(10):
        a.relay.post("test", "event", number)
    client.xtrim("stream", 4, approximate=False)
    host("b", start="oldest").until(*only(range(6, 10)))


def test_a_new_host_may_begin_after_an_entry(host):
    a = host("a")
    entries = [a.relay.post("test", "event", number) for number in range(5)]
    host("b", start=entries[2]).until(*only((3, 4)))


def test_a_bus_goes_on_where_it_was_whatever_start_says(host, name, server):
    """Also when no relay of it has been there for a while."""
    a = host("a")
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    a.relay.close()
    poster = host("b")
    poster.relay.post("test", "event", 2)
    a.relay = stdevents.Relay(a.bus, server.client(), "stream", start="oldest")
    a.relay.post("test", "event", 3)
    a.until(*only((1, 2, 3)))


def test_a_bus_belongs_to_one_stream(host, client):
    a = host("a")
    with pytest.raises(stdevents.StdeventsError, match="another stream than 'other'"):
        stdevents.Relay(a.bus, client, "other")


# -- unique ----------------------------------------------------------------------------------------


def test_an_event_with_unique_runs_on_one_host(host):
    """G4, of all workers of all hosts."""
    hosts = [host(suffix) for suffix in "abc"]
    for number in range(50):
        hosts[0].relay.post("test", "one", number, unique=f"key {number}")
    hosts[0].relay.post("test", "end")
    for one in hosts:
        one.wait_for(lambda: ("end", None) in one.seen)  # noqa: B023
    ran = sorted(data for one in hosts for event, data in one.seen if event == "one")
    assert ran == list(range(50))
    assert sum(one.relay.stats().elsewhere for one in hosts) == 2 * 50


def test_a_host_without_a_handler_leaves_it_to_the_others(host):
    """As one that only posts: else it would take what it does not run."""
    a, b = host("a"), host("b")
    a.bus.unregister(a._note, "test")
    for number in range(20):
        a.relay.post("test", "one", number, unique=f"key {number}")
    b.until(*[("one", number) for number in range(20)])


def test_a_key_is_held_over_all_hosts_for_the_timeout(host, client):
    timeout = 2.0  # in which Redis has answered both claims, and the bus has handled one
    hosts = [host("a", timeout=timeout), host("b", timeout=timeout)]

    def post(*numbers):
        pipeline = client.pipeline()
        for number in numbers:
            pipeline.xadd("stream", entry_of("one", number, unique="key"))
        pipeline.xadd("stream", entry_of("end", None))
        pipeline.execute()

    post(1, 2)
    for one in hosts:
        one.wait_for(lambda: ("end", None) in one.seen)  # noqa: B023
    handled = time.monotonic()
    hosts[0].wait_for(lambda: not client.keys("*unique:*") and time.monotonic() > handled + timeout)
    post(3)
    for one in hosts:
        one.wait_for(lambda: one.seen.count(("end", None)) == 2)  # noqa: B023
    # By any of them: the second run may be on the first host.
    ran = sorted(seen for one in hosts for seen in one.seen if seen[0] == "one")
    assert ran == [("one", 1), ("one", 3)]


def test_an_event_that_ran_does_not_run_on_a_host_that_comes_late(host, client):
    """By its mark, when its key has long expired."""
    a = host("a", timeout=0.01)
    b = host("b", timeout=0.01)
    b.relay.close()
    a.relay.post("test", "one", 1, unique="key")
    a.until(("one", 1))
    a.wait_for(lambda: not client.keys("*unique:*"))
    b.relay = stdevents.Relay(b.bus, client, "stream")
    a.relay.post("test", "end")
    b.until(("end", None))
    assert b.relay.stats().elsewhere == 1


def test_a_host_that_comes_late_runs_what_others_have_not_come_to(host, client):
    """A newer host, which began further on, decides nothing about what was before."""
    a = host("a")
    a.relay.close()
    b = host("b")
    b.relay.close()
    poster = stdevents.Relay(b.bus, client, "stream")
    poster.close()
    client.xadd("stream", entry_of("one", 1, unique="key"))
    c = host("c")
    c.relay.post("test", "one", 2, unique="other")
    c.until(("one", 2))
    a.relay = stdevents.Relay(a.bus, client, "stream")
    a.until(("one", 1))


def test_marks_go_with_the_entries_that_they_are_for(host, client):
    """Nothing is kept for longer than the stream keeps its entries."""
    a = host("a")
    for number in range(20):
        a.relay.post("test", "one", number, unique=f"key {number}")
    a.wait_for(lambda: len(a.seen) == 20)
    client.xtrim("stream", 0, approximate=False)
    a.relay.post("test", "one", 20, unique="key 20")
    a.wait_for(lambda: len(a.seen) == 21)
    assert client.zcard("{stream}:unique") == 1


# -- lost ------------------------------------------------------------------------------------------


def entry_of(name, data, /, unique=None, **fields):
    """The fields of an entry, as a relay writes them."""
    parts = ["test", name, data] if unique is None else ["test", name, data, unique]
    return {"v": 1, "host": "by hand", "pid": 7, "event": json.dumps(parts), **fields}


def lost(stream="stream", count=None, first=None, last=None):
    """The event that tells of it."""
    return ("lost", {"first": first, "last": last, "count": count, "stream": stream})


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
    assert b.relay.stats().gaps == 1
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
    reader = b.relay._life.reader
    reader._renewal = 0
    assert reader.elect() and reader.read() and reader.read()
    reader.resign()
    client.xtrim("stream", 10, approximate=False)
    b.relay = stdevents.Relay(b.bus, client, "stream")
    gone = lost(count=1000 - 512 - 10, first="512-2", last="991-0")
    b.until(*only(range(1, 513)), gone, *only(range(991, 1001)))


def test_without_the_counts_of_redis_7_what_is_lost_is_told_without_a_count(
    host, client, monkeypatch
):
    old = _stream.LOOK.replace("'entries-added'", "'-'").replace("'max-deleted-entry-id'", "'-'")
    monkeypatch.setattr(_stream, "LOOK", old)
    client.xadd("stream", {"it": "is there"}, "0-1")
    b = late(host, client, lambda client: client.xtrim("stream", 4, approximate=False))
    b.until(("event", 1), lost(first="1-2", last="7-0"), *only(range(7, 11)))


def test_an_entry_that_somebody_deleted_is_no_loss(host, client):
    """It was taken out of the order for all, on purpose."""
    b = late(host, client, lambda client: client.xdel("stream", "5-1"))
    b.until(*only((1, 2, 3, 4, 6, 7, 8, 9, 10)))


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


def test_a_stream_that_was_made_anew_further_on_is_told_and_all_that_it_has_is_new(host, client):
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


def test_an_event_larger_than_the_ring_of_a_host_is_lost_there(host):
    a, b = host("a"), host("b", size=4096)
    entry = a.relay.post("test", "large", "x" * 5000)
    a.relay.post("test", "event", 1)
    b.until(lost(count=1, first=entry, last=entry), ("event", 1))
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
    look = a.relay._life.stream.look(Position(0, 0, 0), 100)
    batches = a.relay._life.reader._batches(Position(0, 0, 0), look)
    assert sum(len(batch.records) for batch in batches) == 8
    assert all(sum(len(record) for record in batch.records) <= 1024 for batch in batches)
    assert all(len(batch.records) <= 4 for batch in batches)


# -- what is not ours ------------------------------------------------------------------------------

FOREIGN = {
    "other fields": {"temperature": "19.5"},
    "one field more": entry_of("event", 1, more=1),
    "another version": entry_of("event", 1, v=2),
    "no JSON": entry_of("event", 1, event="secret"),
    "JSON and more": entry_of("event", 1, event='["a", "b", 1] secret'),
    "no list": entry_of("event", 1, event='{"secret": 1}'),
    "a short list": entry_of("event", 1, event='["secret", "b"]'),
    "a long list": entry_of("event", 1, event='["a", "b", 1, "k", "secret"]'),
    "no names": entry_of("event", 1, event='[1, ["secret"], 1]'),
    "an empty name": entry_of("event", 1, event='["", "b", "secret"]'),
    "no key": entry_of("event", 1, event='["a", "b", "secret", ["k"]]'),
    "not a number": entry_of("event", 1, event='["a", "secret", NaN]'),
    "too deep": entry_of("event", 1, event='["a", "b", ' + 300 * "[" + 300 * "]" + "]"),
    "far too deep": entry_of("event", 1, event=100_000 * "["),
    "half a character": entry_of("event", 1, event='["a", "secret", "\\ud800"]'),
    "no text": entry_of("event", 1, event=b'["a", "secret", "\xff"]'),
    "a pid that is none": entry_of("event", 1, pid="secret"),
    "pid 0": entry_of("event", 1, pid=0),
    "a huge pid": entry_of("event", 1, pid=1 << 70),
    "a host that is no text": entry_of("event", 1, host=b"\xff"),
    "no host": entry_of("event", 1, host=""),
    "a long host": entry_of("event", 1, host="x" * 256),
    "a host of two lines": entry_of("event", 1, host="secret\nb"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_an_entry_that_is_not_ours_is_skipped_counted_and_logged(host, client, caplog, what):
    """Without a word of what is in it."""
    a = host("a")
    entry = client.xadd("stream", FOREIGN[what]).decode()
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    assert a.relay.stats().skipped == 1
    assert f"entry {entry} of stream 'stream' is not an event of a relay" in caplog.text
    assert "secret" not in caplog.text


def test_many_entries_that_are_not_ours_are_few_lines_in_the_log(host, client, caplog):
    a = host("a")
    pipeline = client.pipeline()
    for number in range(1000):
        pipeline.xadd("stream", {"number": number})
    pipeline.execute()
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    assert a.relay.stats().skipped == 1000
    assert 10 < len(caplog.records) < 20


def test_entries_that_are_not_ours_are_passed_by_without_an_event(host, client):
    """The bus is past them all the same: the next reader does not look at them again."""
    a = host("a")
    entry = client.xadd("stream", {"number": 1}).decode()
    a.wait_for(lambda: str(a.position()) == entry)
    assert a.relay.stats().skipped == 1
    a.relay.close()
    a.relay = stdevents.Relay(a.bus, client, "stream")
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    assert a.relay.stats().skipped == 0


def test_a_key_that_is_no_stream_is_told(name, client, caplog):
    client.set("stream", "a string")
    with stdevents_bus(name) as bus:
        relay = stdevents.Relay(bus, client, "stream")
        with pytest.raises(stdevents.RelayError, match="WRONGTYPE"):
            relay.post("test", "event")
        relay.close()
    assert "WRONGTYPE" in caplog.text


class stdevents_bus:
    """A bus for a `with`."""

    def __init__(self, name, **options):
        self.bus = stdevents.Bus(name, interval=0, **options)

    def __enter__(self):
        return self.bus

    def __exit__(self, *_):
        self.bus.close()


# -- the command line ------------------------------------------------------------------------------


def test_check_finds_no_fault_in_what_was_relayed(host, name):
    a = host("a")
    for number in range(5):
        a.relay.post("test", "event", number)
        a.relay.post("test", "one", number, unique=number)
    a.wait_for(lambda: len(a.seen) == 10)
    assert check(f"{name}a") == []


@pytest.mark.parametrize(
    "word, value, fault",
    [
        (CELLS[0], 1 << 40, "cell 48 is of event 1099511627776"),
        (CELLS[1], 1 << 40, "cell 52 is of event 1099511627776"),
    ],
)
def test_check_finds_a_place_of_an_event_that_is_not_there(host, name, word, value, fault):
    a = host("a")
    a.bus._life.state.seat.words[word] = value
    assert any(fault in one for one in check(f"{name}a"))


def test_tail_says_where_an_event_comes_from(host, name):
    a = host("a")
    plain = a.relay.post("test", "event", 1)
    one = a.relay.post("test", "one", 2, unique="key")
    a.until(("event", 1), ("one", 2))
    visited = outside.find(f"{name}a")
    run, events = visited.read(outside.NOWHERE)
    visited.close()
    lines = [
        {key: value for key, value in line.items() if key not in ("id", "pid", "source")}
        for line in _lines(0, run.through, events)
    ]
    origin = {"host": "host a"}
    assert {"event": "event", "data": 1, "entry": plain, **origin} in lines
    assert {"event": "one", "data": 2, "unique": "key", "entry": one, **origin} in lines


# -- the calls -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (("", "event"), ValueError, "source"),
        ((1, "event"), TypeError, "source"),
        (("test", None), TypeError, "event"),
        (("test", "event", {1, 2}), stdevents.EncodeError, "set"),
        (("test", "event", float("nan")), stdevents.EncodeError, "nan"),
        (("test", "event", None, 1.5), TypeError, "unique"),
        (("test", "event", "x" * 5000), stdevents.PayloadTooLarge, "4096"),
        (("test", "event", "x" * 4060), stdevents.PayloadTooLarge, "4096"),
    ],
)
def test_a_post_that_cannot_be_is_refused_before_redis_sees_it(
    host, client, arguments, error, words
):
    a = host("a", size=4096)
    with pytest.raises(error, match=words):
        a.relay.post(*arguments)
    assert client.xlen("stream") == 0


@pytest.mark.parametrize(
    "options, error",
    [
        ({"stream": 1}, TypeError),
        ({"stream": ""}, ValueError),
        ({"stream": "x" * 256}, ValueError),
        ({"stream": "\ud800"}, ValueError),
        ({"host": b"a"}, TypeError),
        ({"host": "a\nb"}, ValueError),
        ({"host": ""}, ValueError),
        ({"maxlen": 0}, ValueError),
        ({"maxlen": "1k"}, TypeError),
        ({"maxlen": True}, TypeError),
        ({"buffer": -1}, ValueError),
        ({"buffer": None}, TypeError),
        ({"start": None}, TypeError),
        ({"start": "newest"}, ValueError),
        ({"start": "1-x"}, ValueError),
        ({"start": "-1-1"}, ValueError),
        ({"start": f"{1 << 64}-0"}, ValueError),
        ({"client": None}, TypeError),
        ({"bus": "a-name"}, TypeError),
    ],
)
def test_a_bad_option_is_named(bus, client, options, error):
    (option,) = options
    given = {"bus": bus, "client": client, "stream": "stream", **options}
    with pytest.raises(error, match=f"^{option}: "):
        stdevents.Relay(**given)


def test_a_client_that_cannot_be_used_is_refused(bus, server):
    asynchronous = pytest.importorskip("redis.asyncio").Redis(unix_socket_path=server.path)
    with pytest.raises(TypeError, match="asynchronous"):
        stdevents.Relay(bus, asynchronous, "stream")
    with pytest.raises(ValueError, match="decode_responses"):
        stdevents.Relay(bus, server.client(decode_responses=True), "stream")


@pytest.mark.parametrize("protocol", [2, 3])
def test_either_protocol_of_redis_will_do(host, server, protocol):
    a = host("a", client=server.client(protocol=protocol))
    a.relay.post("test", "one", 1, unique="key")
    a.until(("one", 1))
    a.relay.post("test", "event", 2)
    a.until(("one", 1), ("event", 2))


def test_a_wait_ends_before_the_client_would_take_it_for_a_lost_connection(server):
    waiting = _stream.Stream(server.client(socket_timeout=4), "stream")
    waiting.wait(Position(0, 0), 60)


def test_the_bus_has_to_be_open(client, name):
    bus = stdevents.Bus()
    with pytest.raises(stdevents.NotConfigured):
        stdevents.Relay(bus, client, "stream")
    bus.configure(name, interval=0)
    relay = stdevents.Relay(bus, client, "stream")
    bus.close()
    with pytest.raises(stdevents.NotConfigured):
        relay.post("test", "event")
    relay.close()


def test_a_closed_relay_says_so(host):
    a = host("a")
    a.relay.close()
    a.relay.close()
    with pytest.raises(stdevents.NotConfigured, match="relay is closed"):
        a.relay.post("test", "event")
    assert not a.relay.stats().reading


def test_a_bus_that_is_opened_anew_is_relayed_to_again(host, name):
    a, b = host("a"), host("b")
    a.bus.close()
    a.bus.configure(f"{name}a", interval=0)
    a.wait_for(a.position)
    b.relay.post("test", "event", 1)
    a.until(("event", 1))


def test_the_stream_is_kept_to_about_maxlen(host, client):
    a = host("a", maxlen=100)
    for number in range(1000):
        a.relay.post("test", "event", number)
    assert 100 <= client.xlen("stream") <= 300
    b = host("b", maxlen=None)
    for number in range(500):
        b.relay.post("test", "event", number)
    assert client.xlen("stream") >= 600


def test_the_error_of_redis_is_the_cause_and_survives_pickling(host, server):
    a = host("a")
    server.kill()
    with pytest.raises(stdevents.RelayError, match="ConnectionError") as caught:
        a.relay.post("test", "event")
    assert isinstance(caught.value, ConnectionError)
    assert type(caught.value.__cause__).__module__.startswith("redis")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_what_it_counts(host):
    a, b = host("a"), host("b")
    for number in range(5):
        a.relay.post("test", "event", number)
    for one in (a, b):
        one.until(*only(range(5)))
        one.wait_for(lambda: one.relay.stats().relayed == 5)  # noqa: B023  counted afterwards
        assert one.relay.stats().reading
        assert repr(one.relay).startswith("<Relay of <Bus 'test-")
    assert (a.relay.stats().posted, b.relay.stats().posted) == (5, 0)


def test_it_logs_little(host, caplog):
    """At INFO who reads; nothing of each event."""
    caplog.set_level(logging.INFO)
    a = host("a")
    for number in range(5):
        a.relay.post("test", "event", number)
    a.until(*only(range(5)))
    assert len(caplog.records) == 1
