"""What Redis refuses is told, and let go; only a Redis that is away has posts wait."""

from __future__ import annotations

import contextlib

import pytest
import redis
from children import SECONDS
from entries import entry_of, only
from inside import name_of, put_into_buffer
from programs import start

import stdevents


def refuse_writes(client):
    """From now on, as for want of memory."""
    client.config_set("maxmemory", 1)


def grant_writes(client):
    client.config_set("maxmemory", 0)


def allow(client, user, *without):
    """Everything, but for what is without."""
    commands = ["+@all", *without]
    client.acl_setuser(user, enabled=True, nopass=True, keys=["*"], commands=commands)


def test_a_refused_post_is_told_at_the_call(host, client):
    a = host("a", buffer=10)
    refuse_writes(client)
    with pytest.raises(stdevents.RelayError, match="OOM|OutOfMemory"):
        a.relay.post("test", "event", 1)
    assert a.relay.stats().buffered == 0
    grant_writes(client)
    assert a.relay.post("test", "event", 2)
    a.until(("event", 2))
    assert a.relay.stats().away_since is None


def test_a_process_whose_posts_are_refused_reads_on(host, server, client, caplog):
    """The buffer is not held by what nobody will ever take."""
    a = host("a", buffer=10)
    client.xadd("stream", entry_of("event", 1))
    a.until(("event", 1))
    server.kill()
    for number in (2, 3):
        assert a.relay.post("test", "event", number) is None
    server.start()
    refuse_writes(client)
    # Whether the buffer is sent before or after that is chance; what is refused is counted.
    a.wait_for(lambda: a.relay.stats().buffered == 0)
    grant_writes(client)
    entry = client.xadd("stream", entry_of("event", 4))
    a.wait_for(lambda: ("event", 4) in a.seen)
    assert entry
    refused = a.relay.stats().refused
    assert len(a.seen) == 4 - refused
    assert caplog.text.count("a post from the buffer is dropped") == refused


def test_a_buffer_that_is_refused_is_dropped_with_a_count(host, server, client, caplog):
    a = host("a", buffer=10, client=server.client(username="poster"), relayed=False)
    allow(client, "poster", "-xadd")
    a.relay = stdevents.Relay(a.bus, server.client(username="poster"), "stream", buffer=10)
    a.wait_for(lambda: a.relay.stats().reading)
    with pytest.raises(stdevents.RelayError, match="can't run|NOPERM|no permissions"):
        a.relay.post("test", "event", 1)
    put_into_buffer(a.relay, 2)
    a.wait_for(lambda: a.relay.stats().buffered == 0)
    assert a.relay.stats().refused == 2
    assert "a post from the buffer is dropped, 2 events so far" in caplog.text
    client.xadd("stream", entry_of("event", 3))
    a.until(("event", 3))


def test_a_long_buffer_that_is_refused_is_few_lines_in_the_log(host, server, client, caplog):
    allow(client, "poster", "-xadd")
    a = host("a", buffer=100, client=server.client(username="poster"))
    put_into_buffer(a.relay, 100)
    a.wait_for(lambda: a.relay.stats().buffered == 0)
    assert a.relay.stats().refused == 100
    assert caplog.text.count("a post from the buffer is dropped") == 13  # 1 to 10, 16, 32, 64


def test_a_reader_that_is_refused_tells_it_once_and_posts_nevertheless(
    host, server, client, caplog
):
    allow(client, "reader", "-xread")
    a = host("a", client=server.client(username="reader"), buffer=10)
    a.wait_for(lambda: a.relay.stats().away_since is not None)
    for number in range(20):
        assert a.relay.post("test", "event", number)  # and not into the buffer
    a.until(*only(range(20)))  # without waiting for news it looks for them
    told = [line for line in caplog.messages if "will be tried again" in line]
    assert len(told) == 1
    assert not [line for line in caplog.messages if "reached again" in line]
    allow(client, "reader")
    a.wait_for(lambda: a.relay.stats().away_since is None)
    a.wait_for(lambda: "reached again" in caplog.text)


def test_a_host_whose_place_is_not_kept_reads_on(host, server, client, caplog):
    """Its next bus begins earlier, or anew; that is said once."""
    allow(client, "reader", "-xgroup|setid", "-xgroup|create")
    a = host("a", client=server.client(username="reader"))
    for number in range(20):
        a.relay.post("test", "event", number)
        a.until(*only(range(number + 1)))
    assert a.relay.stats().away_since is None
    assert a.relay.stats().reading
    (told,) = caplog.messages
    assert "so the next bus of this host begins where the place was kept last" in told


def test_a_post_of_which_a_part_is_refused_is_not_there(host, server, client):
    """Else who posts it again has it there twice."""
    allow(client, "poster", "-set")
    a = host("a", client=server.client(username="poster"))
    with pytest.raises(stdevents.RelayError):
        a.relay.post("test", "event", 1)
    assert client.xlen("stream") == 0


def test_a_busy_redis_is_away_and_does_not_refuse(host, server, client, request):
    """Somebody's script takes long: that passes."""
    client.config_set("busy-reply-threshold", 50)
    a = host("a", buffer=10, client=server.client(socket_timeout=0.2))
    a.wait_for(lambda: a.relay.stats().reading)
    blocker = server.client(socket_timeout=0.1)
    with pytest.raises(redis.TimeoutError):
        blocker.eval("while true do end", 0)
    assert a.relay.post("test", "event", 1) is None
    assert a.relay.stats().buffered == 1
    client.script_kill()
    a.until(("event", 1))
    assert a.relay.stats().refused == 0


def test_of_a_poster_that_finds_redis_away_each_time_one_line_is_told(host, server, caplog, name):
    """Nobody else here knows better: no worker of its host has a relay."""
    a = host("a", relayed=False)
    with start_poster(name_of(a.bus), server) as poster:
        lines = [poster.stdout.readline() for _ in range(1)]
        server.kill()
        for _ in range(8):
            poster.stdin.write("post\n")
            poster.stdin.flush()
            lines.append(poster.stdout.readline())
        _, err = poster.communicate("", timeout=SECONDS)
        server.start()
    assert lines == ["ready\n", *["RelayError\n"] * 8]
    assert err.count("will be tried again") == 1
    assert "reached again" not in err


POSTER = """
import logging, sys, time, redis, stdevents
logging.basicConfig()
bus = stdevents.Bus(sys.argv[1], interval=0, role="poster")
client = redis.Redis(unix_socket_path=sys.argv[2], socket_timeout=1)
relay = stdevents.Relay(bus, client, "stream")
print("ready", flush=True)
for line in sys.stdin:
    try:
        relay.post("test", "event")
        print("posted", flush=True)
    except stdevents.RelayError:
        print("RelayError", flush=True)
    time.sleep(0.3)  # while its thread looks
relay.close()
bus.close()
client.close()
"""


@contextlib.contextmanager
def start_poster(bus, server):
    """A process that only posts, at each line that it is given."""
    process = start(POSTER, bus, server.path)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
