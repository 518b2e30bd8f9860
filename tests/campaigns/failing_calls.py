"""The program of test_failing_calls.py: all that a bus does, while a system call of it fails.

Each scenario does one thing while the n-th call fails, then has to find all as it should be: the
thing was done, or refused by an error of ours and can be done now.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import logging
import multiprocessing
import os
import sys
import threading
import traceback

from inside import folder_of, memory_file_of, name_of
from intervene import Intervention
from state import is_locked

import stdevents

ERRORS = (errno.EIO, errno.EINTR, errno.ENOSPC, errno.EMFILE, errno.ENOLCK)
FOR_EVER = 1 << 40
SEVERAL = 50  # a call that is interrupted is made again, without end
SECONDS = 30

REFUSED = stdevents.StdeventsError
OPTIONS = {"size": 1024, "wait_max": 0.05, "wait_interval": 0.005}


class Neighbour:
    """Another worker of the bus, in a process of its own, where nothing fails."""

    def __init__(self, name):
        self._pipe, theirs = multiprocessing.Pipe()
        self._pid = os.fork()
        if not self._pid:
            self._pipe.close()
            self._live(theirs, stdevents.Bus(), name)
        theirs.close()

    @staticmethod
    def _live(pipe, bus, name):
        with contextlib.suppress(EOFError):
            while True:
                if pipe.recv() == "come":
                    bus.configure(name, interval=0, **OPTIONS)
                else:
                    bus.close()
                pipe.send("done")
        os._exit(0)

    def come(self):
        self._do("come")

    def go(self):
        self._do("go")

    def _do(self, what):
        self._pipe.send(what)
        assert self._pipe.recv() == "done"

    def end(self):
        self._pipe.close()
        os.waitpid(self._pid, 0)


def open_bus(name, **options):
    """A bus of this process, and all that its handlers are given from now on."""
    bus = stdevents.Bus(name, **{"interval": 0, **OPTIONS, **options})
    bus.poll()
    seen = []
    register(bus, seen)
    return bus, seen


def register(bus, seen):
    """Have all events noted but `started`: who cannot lock or unlock any more joins anew."""
    bus.register(lambda data, event, source, pid: event == "started" or seen.append(event))


def assert_sound(bus, seen):
    """It can be posted to and polled, by anybody: its lock was not kept."""
    # Where unlocking failed, and failed again, it is free after the next post.
    if intervention.last_failed != "flock" or intervention.failed == 1:
        assert_free(bus)
    bus.poll()
    seen.clear()
    assert bus.post("test", "sound", unique="sound") == bus.stats().last_id
    bus.poll()
    assert seen == ["sound"], seen
    assert_free(bus)
    assert bus.stats().handler_errors == bus.stats().lost == 0


def assert_free(bus):
    assert not is_locked(name_of(bus)), "the lock was kept"


# -- scenarios -------------------------------------------------------------------------------------


def create(name, failing, workers=1):
    bus, seen = stdevents.Bus(), []
    register(bus, seen)
    try:
        with failing():
            bus.configure(name, interval=0, **OPTIONS)
    except REFUSED:
        assert not bus.configured()
        bus.configure(name, interval=0, **OPTIONS)
    assert_sound(bus, seen)
    assert len(bus.workers()) == workers
    bus.close()


def join(name, failing):
    neighbour.come()
    create(name, failing, workers=2)
    neighbour.go()


def post(name, failing):
    bus, seen = open_bus(name)
    bus.fileno()  # so that there is somebody to wake
    bus.poll()
    last = bus.stats().last_id
    try:
        with failing():
            assert bus.post("test", "event") == last + 1
        expected = ["event"]
    except REFUSED:
        expected = []
    assert bus.post("test", "after") == bus.stats().last_id > last + len(expected)
    bus.poll()
    assert seen == [*expected, "after"], seen
    assert_sound(bus, seen)
    bus.close()


def poll(name, failing):
    bus, seen = open_bus(name)
    bus.post("test", "plain")
    bus.post("test", "unique", unique="key")
    bus.post("test", "more")
    try:
        with failing():
            bus.poll()
    except REFUSED:
        assert seen == ["plain"], seen
        bus.poll()
    assert seen == ["plain", "unique", "more"], seen
    assert_sound(bus, seen)
    bus.close()


def wait_for_news(name, failing):
    bus, seen = open_bus(name)
    try:
        with failing():
            bus.fileno()
            bus.post_local("test", "local")
            bus.poll()
    except REFUSED:
        pass
    bus.fileno()
    bus.poll()
    assert_sound(bus, seen)
    bus.close()


def look_at_workers(name, failing):
    bus, seen = open_bus(name)
    neighbour.come()
    try:
        with failing():
            workers = bus.workers()
    except REFUSED:
        workers = bus.workers()
    assert len(workers) == 2
    assert_sound(bus, seen)
    neighbour.go()
    bus.close()


def leave(name, failing):
    bus, _ = open_bus(name)
    neighbour.come()
    with failing():
        bus.close()
    assert not bus.configured()
    bus, seen = open_bus(name)
    assert_sound(bus, seen)
    bus.close()
    neighbour.go()


def leave_as_last(name, failing):
    bus, _ = open_bus(name)
    with failing():
        bus.close()
    assert not bus.configured()
    bus, seen = open_bus(name)
    assert_sound(bus, seen)
    bus.close()


def loop(name, failing):
    handled = threading.Event()
    bus = stdevents.Bus()
    bus.register(lambda *_: handled.set(), "test", "after")
    try:
        with failing():
            bus.configure(name, interval=0.005, **OPTIONS)
            bus.post("test", "event")
            bus.post_local("test", "event")
    except REFUSED:
        bus.configure(name, interval=0.005, **OPTIONS)
    bus.post("test", "after")
    assert handled.wait(SECONDS), "the loop has ended"
    bus.close()


def fork(name, failing):
    bus, seen = open_bus(name)
    pipe, theirs = multiprocessing.Pipe()
    with failing():
        child = os.fork()
        if not child:
            pipe.close()
            try:
                work_in_child(bus, theirs)
            finally:
                os._exit(0)
    theirs.close()
    said = pipe.recv()
    pipe.close()
    os.waitpid(child, 0)
    intervention.note_failed(said["failed"], said["call"])
    assert not said["error"], said["error"]
    bus.poll()
    # `stopping` is only posted if that can be done at once.
    assert seen in (["of the child", "stopping"], ["of the child"]), seen
    assert_sound(bus, seen)
    bus.close()


def work_in_child(bus, pipe):
    said = {"error": ""}
    try:
        try:
            bus.post("test", "of the child")
            intervention.disarm()
        except REFUSED:
            intervention.disarm()
            bus.post("test", "of the child")
        bus.poll()
        assert bus.stats().lag == 0
        bus.close()
    except BaseException:
        intervention.disarm()
        said["error"] = traceback.format_exc()
    pipe.send({**said, "failed": intervention.failed, "call": intervention.last_failed})


SCENARIOS = (
    create, join, post, poll, wait_for_news, look_at_workers, leave, leave_as_last, loop, fork
)  # fmt: skip


# -- all of it -------------------------------------------------------------------------------------


def descriptors():
    return set(os.listdir("/proc/self/fd"))


def traces(name):
    ours = folder_of(name), memory_file_of(name)
    return [entry for entry in os.listdir("/dev/shm") if entry in map(os.path.basename, ours)]


def attempt(scenario, name, number, often, error):
    """Do it once; what is wrong afterwards."""
    before = descriptors()
    try:
        scenario(name, lambda: intervention.failing(number, often, error))
    except BaseException:
        intervention.disarm()
        return traceback.format_exc()
    after = descriptors()
    if before != after:  # a mapping has its file open until it is collected
        gc.collect()
        after = descriptors()
    if before != after:
        return f"open files that are left: {after - before}; that are missing: {before - after}"
    return f"left behind: {traces(name)}" if traces(name) else ""


def run(scenario, name, errors):
    """Have each of its calls fail in each way, and tell of what is wrong, as JSON."""
    number = 0
    failed = True
    while failed:
        number += 1
        failed = False
        for error in errors:
            for often in (1, SEVERAL if error == errno.EINTR else FOR_EVER):
                wrong = attempt(scenario, name, number, often, error)
                if intervention.failed:
                    failed = True
                    case = {
                        "scenario": scenario.__name__,
                        "call": intervention.last_failed,
                        "number": number,
                        "error": errno.errorcode[error],
                        "often": "once" if often == 1 else "from then on",
                        "wrong": wrong,
                    }
                    print(json.dumps(case), flush=True)
                else:
                    assert not wrong, wrong
                if wrong:  # what is open then is open
                    sys.exit(1)


if __name__ == "__main__":
    intervention = Intervention()
    logging.getLogger("stdevents").addHandler(logging.NullHandler())  # of each failure
    bus_name, which = sys.argv[1:3]
    neighbour = Neighbour(bus_name)
    attempt(create, bus_name, 0, 0, 0)  # what is loaded and opened late is
    run(globals()[which], bus_name, ERRORS if sys.argv[3] == "long" else ERRORS[:2])
    neighbour.end()
