"""Roles: a listener hears and never takes what runs once; a poster posts, and is no worker."""

from __future__ import annotations

import errno
import os

import pytest
from inside import look_at_ground
from seen import everything_from
from state import assert_alone, assert_removed
from waiting import loop_threads

import stdevents

# -- listener --------------------------------------------------------------------------------------


def as_listener(name, bus, work):
    """Work of a child that is a listener of the bus, and has told so: `work(listener, parent)`."""

    def live(parent):
        bus.close()
        listener = stdevents.Bus(name, interval=0, role="listener")
        listener.poll()
        parent.tell()
        parent.hear()
        return work(listener, parent)

    return live


def test_a_listener_hears_what_is_broadcast_and_takes_nothing_unique(bus, name, fork, seen):
    """G1, G4: also if it is the first one to come to it."""

    def work(listener, parent):
        heard = everything_from(listener, "test")
        listener.poll()
        return heard

    child = fork(as_listener(name, bus, work))
    child.hear()
    seen.clear()
    bus.post("test", "all", 1)
    bus.post("test", "one", 2, unique="key")
    child.say()
    assert child.result() == [1]
    bus.poll()
    assert [data for source, _, data in seen if source == "test"] == [1, 2]


def test_a_listener_posts_and_is_announced_and_listed(bus, name, fork, seen):
    def work(listener, parent):
        number = listener.post("test", "event")
        listener.close()
        return number

    child = fork(as_listener(name, bus, work))
    child.hear()
    assert {worker.pid for worker in bus.workers()} == {os.getpid(), child.pid}
    child.say()
    assert child.result() == bus.stats().last_id - 1
    bus.poll()
    events = [event for _, event, _ in seen]
    assert events[-3:] == ["started", "event", "stopping"]
    assert_alone(bus)


def test_a_forked_child_of_a_listener_is_a_worker(name, fork):
    """G4, G7: a fork server that preloads the application listens, and its children work."""
    listener = stdevents.Bus(name, interval=0, role="listener")
    seen = everything_from(listener, "test")
    listener.post("test", "one", 1, unique="key")
    listener.poll()
    assert seen == []
    listener.post("test", "one", 2, unique="another")

    def work(parent):
        listener.poll()
        return seen, fork(
            lambda parent: (listener.post("test", "one", 3, unique="more"), listener.poll(), seen)[
                2
            ]
        ).result()

    assert fork(work).result() == ([2], [2, 3])
    listener.poll()
    assert seen == [], "nor does it take any of this when they are gone"
    listener.close()


# -- poster ----------------------------------------------------------------------------------------


@pytest.fixture
def poster(name):
    """A bus of this process in the role of a poster, to be opened."""
    poster = stdevents.Bus()
    yield poster
    poster.close()


@pytest.fixture
def worker(name, fork):
    """A child that is a worker: for each thing that it is said, it tells what it has handled."""

    def live(parent):
        bus = stdevents.Bus(name, interval=0)
        bus.poll()
        seen = []
        bus.register(lambda data, event, source, pid: seen.append((event, data, pid)))
        parent.tell()
        while parent.hear() != "leave":
            bus.poll()
            parent.tell((seen, [worker.pid for worker in bus.workers()]))
        bus.close()

    child = fork(live)
    child.hear()
    yield child
    if child.status is None:
        child.say("leave")
        child.wait()


def handled_by(worker):
    worker.say()
    return worker.hear()


def test_a_poster_posts_and_is_no_worker(name, poster, worker):
    """DESIGN 3: no slot, and nothing that starts or stops."""
    poster.configure(name, role="poster")
    assert poster.configured()
    first = poster.post("test", "event", 1)
    assert poster.post_many([("test", "event", 2), ("test", "event", 3)]) == [first + 1, first + 2]
    assert handled_by(worker) == (
        [("event", number, os.getpid()) for number in (1, 2, 3)],
        [worker.pid],
    )
    assert [found.pid for found in poster.workers()] == [worker.pid]
    assert poster.stats().posted == 3
    poster.close()
    assert handled_by(worker)[0][3:] == []


def test_a_poster_takes_nothing_unique(name, poster, worker):
    """G4: it runs in the worker, however long the poster stays."""
    poster.register(lambda *_: None, "test")
    poster.configure(name, role="poster")
    poster.post("test", "event", 1, unique="key")
    assert handled_by(worker)[0] == [("event", 1, os.getpid())]


def test_a_poster_has_no_loop_whatever_its_interval(name, poster, worker):
    poster.configure(name, role="poster", interval=0.01)
    assert loop_threads(name) == []
    poster.configure(interval=0.02)
    assert loop_threads(name) == []


@pytest.mark.parametrize(
    "call", ["poll", "fileno", lambda bus: bus.post_local("test", "event")], ids=str
)
def test_what_a_poster_cannot_do_says_so(name, poster, worker, call):
    poster.configure(name, role="poster")
    with pytest.raises(stdevents.StdeventsError, match='which only posts; .* role="worker"'):
        getattr(poster, call)() if isinstance(call, str) else call(poster)
    assert poster.configured()


def test_a_poster_where_no_worker_is_has_nobody_to_tell(name, poster):
    """ENOENT, and nothing is made for it."""
    with pytest.raises(stdevents.SegmentError, match="no worker has it open") as caught:
        poster.configure(name, role="poster")
    assert caught.value.errno == errno.ENOENT
    assert not poster.configured()
    assert_removed(name)


@pytest.mark.parametrize("end", ["leave", "kill"])
def test_a_poster_is_told_when_the_last_worker_has_gone(name, poster, worker, fork, end, caplog):
    """By the error alone, whether that left or was killed; the next one that comes is told."""
    poster.configure(name, role="poster")
    poster.post("test", "event")
    if end == "leave":
        worker.say("leave")
        worker.result()
    else:
        worker.kill()
    look_at_ground(poster)
    for _ in range(2):
        with pytest.raises(stdevents.SegmentError) as caught:
            poster.post("test", "event")
        assert caught.value.errno == errno.ENOENT
    assert caplog.messages == []

    def live(parent):
        poster.close()
        bus = stdevents.Bus()
        seen = everything_from(bus, "test")
        bus.configure(name, interval=0)
        parent.tell()
        parent.hear()
        bus.poll()
        bus.close()
        return seen

    child = fork(live)
    child.hear()
    poster.post("test", "event", 1)
    child.say()
    assert child.result() == [1]


def test_a_forked_child_of_a_poster_is_a_poster(name, poster, worker, fork):
    """G7: it posts under its own pid, and is no worker either."""
    poster.configure(name, role="poster")
    poster.post("test", "event", "parent")

    def work(parent):
        poster.post("test", "event", "child")
        with pytest.raises(stdevents.StdeventsError):
            poster.poll()

    child = fork(work)
    child.result()
    assert handled_by(worker) == (
        [("event", "parent", os.getpid()), ("event", "child", child.pid)],
        [worker.pid],
    )


# -- the word --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "error"), [("master", ValueError), (1, TypeError)])
def test_another_word_is_no_role(name, role, error):
    with pytest.raises(error, match="role"):
        stdevents.Bus(name, role=role)
    assert_removed(name)


def test_the_first_configure_fixes_the_role(bus):
    with pytest.raises(stdevents.StdeventsError):
        bus.configure(role="listener")
    bus.configure(role="worker")
    bus.post("test", "event", unique="key")
    bus.poll()
    assert bus.stats().ignored == 0
