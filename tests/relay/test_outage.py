"""Redis away: killed, restarted, standing still; what is posted then, and what goes on."""

from __future__ import annotations

import re
import threading
import time

import pytest
import redis
from entries import entry_of, only
from inside import (
    close_before_keeping,
    close_during_failure,
    is_away,
    pass_time_while_away,
    pause_of,
    place_in_stream,
    put_into_buffer,
    refill_buffer,
    relay_once,
    runs,
    send_buffer_later,
    stopped,
)
from redis.backoff import NoBackoff
from redis.retry import Retry

import stdevents


def test_a_restart_of_redis_loses_and_doubles_nothing(host, server):
    """It keeps what it has answered for; hosts and posters connect again by themselves."""
    a, b = host("a"), host("b")
    posted = []
    for _ in range(3):
        for _ in range(20):
            a.relay.post("test", "event", len(posted))
            posted.append(len(posted))
        server.kill()
        with pytest.raises(stdevents.RelayError):
            b.relay.post("test", "event", -1)
        server.start()
    for one in (a, b):
        one.until(*only(posted))


def test_while_redis_is_away_local_events_go_on(host, server):
    """G5: nothing of theirs waits for it, not even when it stands still during an answer."""
    a = host("a")
    server.stop()
    try:
        for number in range(100):
            a.bus.post("test", "event", number)
        a.until(*only(range(100)))
    finally:
        server.go_on()


def test_it_is_logged_once_that_redis_is_away_and_once_that_it_is_back(host, server, caplog):
    a = host("a")
    a.wait_for(lambda: a.relay.stats().reading)
    server.kill()
    a.wait_for(lambda: is_away(a.relay) and pause_of(a.relay) > 0.3)  # after some tries
    server.start()
    a.wait_for(lambda: not is_away(a.relay))
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2, lines
    assert "will be tried again" in lines[0]
    assert "is reached" in lines[1]


def test_while_redis_is_away_that_is_said_once_a_minute(host, server, caplog):
    """And nothing at each try, also at level INFO."""
    caplog.set_level("INFO", "stdevents")
    a = host("a")
    a.wait_for(lambda: a.relay.stats().reading)
    a.wait_for(lambda: "is the reader of stream" in caplog.text)
    caplog.clear()
    server.kill()
    a.wait_for(lambda: is_away(a.relay) and pause_of(a.relay) > 0.3)  # after some tries
    assert len(caplog.messages) == 1
    pass_time_while_away(a.relay, 61)
    a.wait_for(lambda: len(caplog.messages) > 1)
    first, later = caplog.messages
    assert "will be tried again" in first
    seconds = re.search(r"; so it is for (\d+) s, and is tried again all the time", later)[1]
    assert int(seconds) >= 61


def test_a_relay_may_be_made_while_redis_is_away(host, server, client, caplog):
    """ "new" is then from when it is first reached."""
    server.kill()
    a = host("a")
    with pytest.raises(stdevents.RelayError):
        a.relay.post("test", "event", 0)
    server.start()
    a.wait_for(lambda: place_in_stream(a.bus))
    a.relay.post("test", "event", 1)
    a.until(("event", 1))


def test_a_buffer_keeps_posts_in_their_order_until_redis_is_back(host, server):
    a, b = host("a", buffer=50), host("b")
    assert a.relay.post("test", "event", 0) is not None
    server.kill()
    for number in range(1, 51):
        assert a.relay.post("test", "event", number) is None
    assert a.relay.stats().buffered == 50
    with pytest.raises(stdevents.RelayError, match="buffer=50"):
        a.relay.post("test", "event", 51)
    server.start()
    for one in (a, b):
        one.until(*only(range(51)))
    a.wait_for(lambda: a.relay.post("test", "event", 51) is not None)
    b.wait_for(lambda: ("event", 51) in b.seen)
    assert a.relay.stats().buffered == 0


def test_what_reading_has_found_out_no_post_with_a_buffer_waits_for(host, server):
    """Redis stands still, and the client would wait for it, once in each process."""
    a = host("a", client=server.client(socket_timeout=15), buffer=10)
    a.wait_for(lambda: a.relay.stats().reading)
    server.stop()
    try:
        a.wait_for(lambda: is_away(a.relay))
        begun = time.monotonic()
        assert a.relay.post("test", "event", 0) is None
        # Not a time that it may take, but less than the one that the client would wait.
        assert time.monotonic() - begun < 15
    finally:
        server.go_on()
    a.until(("event", 0))
    a.wait_for(lambda: a.relay.post("test", "event", 1) is not None)


def test_what_is_posted_behind_a_buffer_comes_behind_it(host, server):
    """Also when Redis is back already, and the buffer not sent yet."""
    a = host("a", buffer=1000)
    a.relay.close()  # the thread, which would send it
    begin = send_buffer_later(a.relay)
    server.kill()
    a.relay.post("test", "event", 0)
    server.start()
    assert a.relay.post("test", "event", 1) is None
    begin()
    assert a.relay.post("test", "event", 2) is not None
    a.until(*only(range(3)))


def test_a_buffer_that_is_never_empty_keeps_nobody_from_reading(host, client, monkeypatch):
    """What is long, or what others post all the time, would else be sent first."""
    a = host("a", buffer=10)
    refill_buffer(a.relay, monkeypatch, lambda: ("other", None) not in a.seen)
    put_into_buffer(a.relay, 1)
    a.wait_for(lambda: a.relay.stats().posted > 0)
    client.xadd("stream", entry_of("other", None))
    a.wait_for(lambda: ("other", None) in a.seen)
    a.wait_for(lambda: a.relay.stats().buffered == 0)


def test_a_post_for_which_no_connection_is_free_waits_in_the_buffer(host, server):
    """Redis has refused nothing; that passes."""
    client = server.client(max_connections=3)
    a = host("a", client=client, buffer=10)
    taken = []
    with stopped(a.relay):
        with pytest.raises(redis.ConnectionError):
            while True:
                taken.append(client.client())
        assert a.relay.post("test", "event", 1) is None
        put_into_buffer(a.relay, 1)
        relay_once(a.relay)
        for one in taken:
            one.close()
    a.wait_for(lambda: a.relay.stats().buffered == 0)
    a.until(("event", 1), ("event", 0))
    assert a.relay.stats().refused == 0


def test_a_buffer_that_is_closed_is_dropped_with_a_warning(host, server, caplog):
    a = host("a", buffer=10)
    server.kill()
    for number in range(3):
        a.relay.post("test", "event", number)
    a.relay.close()
    assert "with 3 posts in the buffer, which are dropped" in caplog.text
    assert a.relay.stats().buffered == 0


def test_a_forked_child_does_not_send_its_parents_buffer(host, server, fork):
    a = host("a", buffer=10)
    server.kill()
    a.relay.post("test", "event", 1)
    assert fork(lambda parent: a.relay.stats().buffered).result() == 0
    server.start()
    a.until(("event", 1))


class Impatient(NoBackoff):
    """No pause before another try; after `left` of this thread Redis goes on."""

    def __init__(self, server):
        self._server = server
        self.left = 0
        self._thread = threading.get_ident()

    def __deepcopy__(self, memo):
        return self  # in all connections

    def compute(self, failures):
        if threading.get_ident() == self._thread:
            self.left -= 1
            if self.left == 0:
                self._server.go_on()
        return 0


def test_a_post_that_the_client_sends_several_times_is_there_once(host, server, client):
    """A reply that does not come is no sign that nothing was done: Redis knows the post again."""
    impatient = Impatient(server)
    again = {"retry": Retry(impatient, 300), "retry_on_error": [redis.TimeoutError]}
    a = host("a", client=server.client(socket_timeout=0.1, **again))
    a.wait_for(lambda: place_in_stream(a.bus))
    a.relay.post("test", "event", 0)  # so that there is a connection for the next one
    server.stop()
    impatient.left = 3
    a.relay.post("test", "event", 1)
    a.until(*only(range(2)))
    assert impatient.left <= 0  # it was sent several times
    assert client.xlen("stream") == 2


def test_a_post_that_is_sent_again_from_the_buffer_is_there_once(host, server, client):
    """The same, when the client gives up and the buffer does not."""
    a = host("a", client=server.client(socket_timeout=0.1), buffer=10)
    a.wait_for(lambda: place_in_stream(a.bus))
    a.relay.post("test", "event", 0)
    a.until(("event", 0))
    server.stop()
    try:
        assert a.relay.post("test", "event", 1) is None
    finally:
        server.go_on()
    a.until(*only(range(2)))
    assert client.xlen("stream") == 2


def test_a_connection_that_was_cut_is_made_again(host, client):
    """By whoever is between: a firewall, an operator."""
    a, b = host("a"), host("b")
    for number in range(20):
        client.client_kill_filter(_type="normal", skipme=True)
        a.wait_for(lambda: not is_away(a.relay))
        while True:
            try:
                a.relay.post("test", "event", number)
                break
            except stdevents.RelayError:  # it was in the pool, and is cut
                continue
    for one in (a, b):
        one.until(*only(range(20)))


def test_a_connection_lost_for_long_costs_nothing_but_the_time(host, server, request):
    """With --long, a minute. Redis stands still; what others posted meanwhile comes after it."""
    seconds = 60 if request.config.option.long else 2
    a, b = host("a", client=server.client(socket_timeout=0.2)), host("b", buffer=10)
    a.wait_for(lambda: place_in_stream(a.bus))
    b.relay.post("test", "event", 0)
    a.until(("event", 0))
    server.stop()
    until = time.monotonic() + seconds
    a.wait_for(lambda: is_away(a.relay))
    # There is nothing to be waited for but the time.
    time.sleep(max(0, until - time.monotonic()))
    server.go_on()
    b.relay.post("test", "event", 1)
    for one in (a, b):
        one.until(*only(range(2)))


def test_a_relay_that_was_closed_stays_closed(host, server, monkeypatch):
    """A step that fails at that time does not open it again."""
    a = host("a", buffer=10)
    a.wait_for(lambda: a.relay.stats().reading)
    closed = close_during_failure(a.relay, monkeypatch)
    server.kill()
    a.wait_for(closed.is_set)
    with pytest.raises(stdevents.NotConfigured):
        a.relay.post("test", "event", 1)
    with stopped(a.relay):
        pass  # as a fork does
    assert not runs(a.relay)


def test_a_post_that_meets_a_close_is_not_put_into_the_buffer(host, server, monkeypatch):
    a = host("a", buffer=10)
    a.wait_for(lambda: a.relay.stats().reading)
    server.kill()
    close_before_keeping(a.relay, monkeypatch)
    with pytest.raises(stdevents.NotConfigured, match="during this post"):
        a.relay.post("test", "event", 1)
    assert a.relay.stats().buffered == 0
