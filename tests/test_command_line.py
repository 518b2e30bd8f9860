"""`python -m stdevents`, run as its users run it, against programs that have a bus open."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from programs import PACKAGE_PARENT, run_on_small_memory, start

import stdevents
from stdevents._bus import segment as _segment
from stdevents._cli import clean as _clean
from stdevents._cli import status as _status
from stdevents._cli.check import check
from stdevents._system import folder as _folder
from stdevents._table import layout as _layout

pytestmark = pytest.mark.usefixtures("interruptible")

SECONDS = 30  # until a program that hangs is killed

# A worker that does what the lines of its standard input say, until there are no more.
WORKER = """
import json, sys, stdevents
name, options = sys.argv[1], json.loads(sys.argv[2])
bus = stdevents.Bus(name, interval=0, **options)
bus.poll()
@bus.on("test")
def handle(data, event, source, pid):
    print(json.dumps([event, data]), flush=True)
print("open", flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if command == "poll":
        bus.poll()
    else:
        bus.post(*command)
    print("done", flush=True)
bus.close()
"""


class Program:
    """A running program, which is killed if it hangs."""

    def __init__(self, process):
        self.process = process
        self._ended = None
        self._killer = threading.Timer(SECONDS, process.kill)
        self._killer.start()

    def line(self):
        """The next line that it prints; the test fails if there is none."""
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.end()}"
        return line.rstrip("\n")

    def say(self, line):
        """Give it a line, and return those that it prints until it has done it."""
        print(line, file=self.process.stdin, flush=True)
        return list(iter(self.line, "done"))

    def signal(self, number):
        self.process.send_signal(number)
        return self

    def end(self):
        """Wait for its end: (status, what it printed since, errors)."""
        if self._ended is None:
            out, err = self.process.communicate()
            self._killer.cancel()
            self._ended = self.process.returncode, out, err
        return self._ended

    def close(self, stream):
        """Close our end of one of its standard streams."""
        getattr(self.process, stream).close()
        setattr(self.process, stream, None)


@pytest.fixture
def programs():
    """Keeps what was started, and ends it."""
    started = []
    yield started
    for program in started:
        program.process.kill()
        program.end()


@pytest.fixture
def worker(programs, name):
    """`worker(...)` starts one that has the bus open; all have left it when the test is over."""
    workers = []

    def worker(**options):
        program = Program(start(WORKER, name, json.dumps(options)))
        programs.append(program)
        workers.append(program)
        assert program.line() == "open"
        return program

    yield worker
    for program in workers:
        program.end()


@pytest.fixture
def command(programs):
    """`command(...)` starts a command; `status, out, err = command(...).end()`."""

    def command(*arguments, module="stdevents", path=PACKAGE_PARENT, **environment):
        process = subprocess.Popen(
            [sys.executable, "-X", "dev", "-W", "error", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(path), **environment},
            cwd="/",
        )
        programs.append(Program(process))
        return programs[-1]

    return command


def lines_of(out):
    return [json.loads(line) for line in out.splitlines()]


# -- the command line itself -----------------------------------------------------------------------


def test_alone_it_prints_its_help(command):
    status, out, err = command(COLUMNS="80").end()

    assert (status, err) == (0, "")
    assert out.startswith("usage: python -m stdevents ")
    assert max(map(len, out.splitlines())) <= 80
    for name in ("demo", "status", "tail", "post", "check", "clean"):
        assert f"\n    {name} " in out


@pytest.mark.parametrize("name", ["demo", "status", "tail", "post", "check", "clean", "bench"])
def test_each_command_has_a_help_with_an_example(command, name):
    status, out, err = command(name, "--help", COLUMNS="80").end()

    assert (status, err) == (0, "")
    assert f"example:\n  python -m stdevents {name}" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_version(command):
    assert command("--version").end() == (0, f"stdevents {stdevents.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    ["bogus", "--bogus", "tail", "post bus source", "demo 5", "clean --all"],
)
def test_a_wrong_command_line_is_told_in_one_line_that_says_where_to_look(command, arguments):
    status, out, err = command(*arguments.split()).end()

    assert (status, out) == (2, "")
    assert err.startswith("stdevents: ")
    its = "" if "bogus" in arguments else f" {arguments.split()[0]}"
    assert err.endswith(f"; see python -m stdevents{its} --help\n")
    assert err.count("\n") == 1


def test_it_runs_where_it_is_vendored_and_calls_itself_so(command, tmp_path, name, worker):
    vendored = tmp_path / "app" / "_vendor"
    shutil.copytree(PACKAGE_PARENT / "stdevents", vendored / "stdevents")
    for package in (vendored, vendored.parent):
        (package / "__init__.py").touch()
    worker()
    there = {"module": "app._vendor.stdevents", "path": tmp_path}

    assert command("status", name, "--json", **there).end()[0] == 0
    bench = json.loads(command("bench", "--rounds", "1", "--json", **there).end()[1])
    assert bench["command"] == "python -m app._vendor.stdevents bench --rounds 1 --json"
    assert command(**there).end()[1].startswith("usage: python -m app._vendor.stdevents ")


@pytest.mark.parametrize("arguments", [["status"], ["tail"], ["check"], ["clean"], ["post"]])
def test_a_wrong_name_says_which_buses_there_are(command, name, worker, arguments):
    worker()
    more = ["source", "event"] if arguments == ["post"] else []
    status, out, err = command(*arguments, f"{name}-not", *more).end()

    assert (status, out) == (2, "")
    assert err.startswith(f"stdevents: there is no bus '{name}-not' of this user; there are: ")
    assert name in err.rstrip().split(": ")[-1].split(", ")
    assert err.count("\n") == 1


def test_a_wrong_name_says_which_buses_are_stale(command, name, worker):
    worker().signal(signal.SIGKILL).end()

    assert f"{name} (stale)" in command("status", f"{name}-not").end()[2]
    assert "no live worker" in command("status", name).end()[2]

    assert command("clean", name).end() == (0, f"{name}: removed\n", "")


# Run the commands that its arguments are, each with its exit status after what it said.
COMMANDS = """
import sys
from stdevents.__main__ import main
sys.stderr = sys.stdout
def run(*commands):
    for command in commands:
        sys.argv[1:] = command.split()
        print(main(), flush=True)
"""


def test_where_there_is_no_bus_it_is_told_how_to_make_one():
    commands = ["status", "status --json", "status not-there", "clean not-there"]
    told = run_on_small_memory("size=1m", f"{COMMANDS}run(*{commands})")
    no_bus = (
        "stdevents: there is no bus 'not-there', nor any other of this user; a worker makes it by "
        "configure('not-there'), and those of another user are seen by that user only: "
        "sudo -u USER python -m stdevents status"
    )

    assert told == ["no bus of this user", "0", "0", no_bus, "2", no_bus, "2"]


@pytest.mark.skipif(_folder.root() != "/dev/shm", reason="buses live elsewhere here")
def test_where_there_is_no_dev_shm_it_is_told_what_to_do():
    """By the commands, and by `configure`."""
    commands = ["status", "status any", "tail any", "post any a b", "clean", "clean any"]
    program = f"""{COMMANDS}
import subprocess, stdevents
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev"], check=True)
try:
    stdevents.configure("any")
except stdevents.SegmentError as error:
    print(error.errno, error.strerror)
run(*{commands})
"""
    missing = (
        "there is no /dev/shm, in which the buses live; make it "
        "(on Linux: mount -t tmpfs -o mode=1777 tmpfs /dev/shm)"
    )
    configured, *told = run_on_small_memory("size=1m", program)

    assert configured == f"{errno.ENOENT} bus 'any': {missing}"
    assert told == [f"stdevents: {missing}", "1"] * len(commands)


def test_what_cannot_name_a_bus_is_told_so(command):
    status, out, err = command("status", "a/b").end()

    assert (status, out) == (2, "")
    assert "cannot name a bus" in err


# -- post ------------------------------------------------------------------------------------------


def test_a_post_from_outside_reaches_the_workers_and_tells_its_id(command, name, worker):
    a_worker = worker()

    assert command("post", name, "test", "told", '{"key": [7]}').end() == (0, "2\n", "")
    assert command("post", name, "test", "told").end() == (0, "3\n", "")
    assert lines_of("\n".join(a_worker.say('"poll"'))) == [["told", {"key": [7]}], ["told", None]]


def test_a_post_reads_its_data_from_standard_input(command, name, worker):
    a_worker = worker()
    posting = command("post", name, "test", "told", "-")
    posting.process.stdin.write('["from\\nstdin"]')

    assert posting.end() == (0, "2\n", "")
    assert lines_of("\n".join(a_worker.say('"poll"'))) == [["told", ["from\nstdin"]]]


def test_a_unique_post_from_outside_is_handled_by_one(command, name, worker):
    """G4."""
    workers = [worker(), worker()]
    assert command("post", name, "test", "told", "1", "--unique", "key").end()[0] == 0
    assert command("post", name, "test", "told", "2", "--unique", "key").end()[0] == 0

    assert [a_worker.say('"poll"') for a_worker in workers] == [['["told", 1]'], []]


@pytest.mark.parametrize("data", ["{key: 7}", "", "[" * 100000, "NaN", "[1e999]", '"\\ud800"'])
def test_data_that_is_not_json_is_an_error_and_nothing_is_posted(command, name, worker, data):
    worker()
    status, out, err = command("post", name, "test", "told", data).end()

    assert (status, out) == (2, "")
    assert err.startswith("stdevents: ")
    assert err.count("\n") == 1
    assert command("post", name, "test", "told").end()[1] == "2\n"


def test_a_post_that_is_larger_than_the_ring_is_an_error(command, name, worker):
    worker(size=1024)
    status, out, err = command("post", name, "test", "told", f'"{"x" * 1024}"').end()

    assert (status, out) == (2, "")
    assert "1024" in err


# -- tail ------------------------------------------------------------------------------------------


def test_tail_shows_what_comes(command, name, worker):
    a_worker = worker()
    tail = command("tail", name, "--oldest")
    started = json.loads(tail.line())
    assert (started["id"], started["source"], started["event"]) == (1, "stdevents", "started")

    assert command("post", name, "cache", "drop", '{"é": 1}', "--unique", "k").end()[1] == "2\n"
    event = json.loads(tail.line())
    assert event.pop("pid") > 0
    told = {"id": 2, "source": "cache", "event": "drop", "data": {"é": 1}, "unique": "k"}
    assert event == told

    a_worker.say('["test", "mine", [3]]')
    mine = {"id": 3, "source": "test", "event": "mine", "data": [3]}
    assert json.loads(tail.line()) == {**mine, "pid": a_worker.process.pid}
    assert tail.signal(signal.SIGINT).end() == (0, "", "")


def test_tail_takes_no_worker_slot(command, name, worker):
    worker()
    tail = command("tail", name, "--oldest")
    tail.line()

    state = json.loads(command("status", name, "--json").end()[1])
    assert len(state["workers"]) == 1


def test_tail_shows_only_what_it_is_asked_for(command, name, worker):
    a_worker = worker()
    for source, event in (("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("end", "end")):
        a_worker.say(json.dumps([source, event]))

    def first_ids(count, *options):
        tail = command("tail", name, "--oldest", *options)
        ids = [json.loads(tail.line())["id"] for _ in range(count)]
        tail.signal(signal.SIGINT).end()
        return ids

    assert first_ids(2, "--source", "a") == [2, 3]
    assert first_ids(2, "--event", "x") == [2, 4]
    assert first_ids(1, "--source", "b", "--event", "y") == [5]


def test_tail_shows_a_gap(command, name, worker):
    """G3, for an onlooker."""
    a_worker = worker(size=1024)
    tail = command("tail", name, "--oldest")
    assert json.loads(tail.line())["id"] == 1
    tail.signal(signal.SIGSTOP)
    os.waitpid(tail.process.pid, os.WUNTRACED)
    for number in range(2, 12):
        a_worker.say(json.dumps(["test", "tick", number]))
    tail.signal(signal.SIGCONT)

    gap = json.loads(tail.line())
    assert gap == {"lost": {"first": 2, "last": gap["lost"]["last"], "count": gap["lost"]["count"]}}
    ids = [json.loads(tail.line())["data"] for _ in range(gap["lost"]["last"] + 1, 12)]
    assert ids == list(range(gap["lost"]["last"] + 1, 12))
    assert gap["lost"]["count"] == gap["lost"]["last"] - 1 >= 6
    tail.signal(signal.SIGINT).end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_tail_goes_on_when_the_bus_is_created_again(command, name, worker, number):
    first = worker()
    tail = command("tail", name, "--oldest")
    tail.line()
    if number == signal.SIGKILL:
        first.signal(number).end()
    else:
        first.close("stdin")
        assert json.loads(tail.line())["event"] == "stopping"
    assert "no live worker any more; waiting" in tail.process.stderr.readline()

    second = worker()
    assert "created again" in tail.process.stderr.readline()
    started = json.loads(tail.line())
    assert (started["id"], started["pid"]) == (1, second.process.pid)
    assert tail.signal(signal.SIGINT).end() == (0, "", "")


def test_tail_ends_when_nobody_reads_it(command, name, worker):
    worker()
    tail = command("tail", name, "--oldest")
    tail.line()
    tail.close("stdout")

    assert tail.end() == (0, None, "")


# -- status ----------------------------------------------------------------------------------------


def test_status_as_json(command, name, worker):
    ahead, behind = worker(size="4k"), worker()
    for _ in range(3):
        ahead.say('["test", "tick"]')
    ahead.say('"poll"')
    status, out, err = command("status", name, "--json").end()
    state = json.loads(out)

    assert (status, err) == (0, "")
    assert (state["name"], state["size"], state["last_id"]) == (name, 4096, 5)
    assert (state["events"], state["event_slots"]) == (5, 16)
    assert 0 < state["used"] < 4096
    first, second = state["workers"]
    assert (first["pid"], first["position"], first["lag"]) == (ahead.process.pid, 5, 0)
    assert (second["pid"], second["position"], second["lag"]) == (behind.process.pid, 2, 3)
    assert first["behind"] == 0 < second["behind"] == pytest.approx(3 / 16, abs=0.001)


def test_status_tells_which_worker_is_lapped(command, name, worker):
    ahead, behind = worker(size="4k"), worker()
    for _ in range(20):
        ahead.say('["test", "tick"]')
    ahead.say('"poll"')
    out = command("status", name).end()[1]

    (line,) = [line for line in out.splitlines() if f" {behind.process.pid} " in line]
    assert "100%" in line
    assert "loses 4 events" in line  # 16 of the 20 are there still
    (line,) = [line for line in out.splitlines() if f" {ahead.process.pid} " in line]
    assert "loses" not in line
    assert "\x1b" not in out


@pytest.fixture
def listed(name, worker, monkeypatch, capsys):
    """`listed(...)` is what `status` says of a live bus, a stale one and a locked one."""
    worker(), worker()
    stale, locked = f"{name}-stale", f"{name}-lock"
    program = Program(start(WORKER, stale, "{}"))
    program.line()
    program.signal(signal.SIGKILL).end()
    bus = stdevents.Bus(locked, interval=0)
    lock = _folder.Folder(locked).open_file(_folder.LOCK, create=False)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # The buses of other tests are none of ours.
    monkeypatch.setattr(_status, "names", lambda: [name, stale, locked])

    def listed(as_json):
        status = _status.main(None, watch=False, as_json=as_json)
        return status, capsys.readouterr().out.splitlines()

    yield listed
    os.close(lock)
    bus.close()
    assert _segment.clean(stale)


def test_status_without_a_name_lists_the_buses(listed, name):
    status, lines = listed(as_json=False)
    live, stale, locked = lines

    assert live == f"{name}        2 workers"
    assert stale == f"{name}-stale  no live worker; left behind by killed ones"
    assert locked.startswith(f"{name}-lock   bus '{name}-lock': its lock could not be taken ")
    assert status == 1  # something is wrong with one of them


def test_status_without_a_name_lists_the_buses_as_json(listed, name):
    status, lines = listed(as_json=True)
    live, stale, locked = map(json.loads, lines)

    assert (live["name"], live["size"], len(live["workers"])) == (name, 1 << 20, 2)
    assert stale == {"name": f"{name}-stale", "error": _status.DEAD, "workers": []}
    assert (locked["name"], locked["workers"]) == (f"{name}-lock", [])
    assert "its lock could not be taken" in locked["error"]
    assert status == 1


def test_all_is_well_with_buses_that_are_live_or_stale(name, worker, monkeypatch):
    worker()
    monkeypatch.setattr(_status, "names", lambda: [name, f"{name}-gone"])

    assert _status.main(None, watch=False, as_json=False) == 0


def test_the_list_of_all_buses_has_the_one_that_is_open(command, name, worker):
    worker()

    assert f"{name} 1 worker" in [
        " ".join(line.split()) for line in command("status").end()[1].splitlines()
    ]


def test_a_watch_needs_the_name_of_a_bus(command):
    status, out, err = command("status", "--watch").end()

    assert (status, out) == (2, "")
    assert err == (
        "stdevents: --watch needs the NAME of a bus; without --watch, status lists them\n"
    )


def test_status_can_be_shown_where_there_is_only_ascii(command, name, worker):
    worker()
    status, out, err = command("status", name, PYTHONIOENCODING="ascii").end()

    assert (status, err) == (0, "")
    assert out.isascii()


def test_a_watch_sees_the_bus_go_and_come_back(command, name, worker):
    first = worker()
    watch = command("status", name, "--watch", "--json")
    epochs = [json.loads(watch.line())["epoch"]]
    first.close("stdin")
    while json.loads(watch.line())["workers"]:
        pass
    second = worker()
    while True:
        state = json.loads(watch.line())
        if state["workers"]:
            break
    epochs.append(state["epoch"])

    assert state["workers"][0]["pid"] == second.process.pid
    assert epochs[0] != epochs[1]
    status, _, err = watch.signal(signal.SIGINT).end()
    assert (status, err) == (0, "")


def test_a_bus_whose_lock_is_held_is_in_use_and_a_watch_goes_on(command, name, worker):
    """G5: as by a worker that was stopped in the middle of a post."""
    worker()
    lock = _folder.Folder(name).open_file(_folder.LOCK, create=False)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # All at once: each waits for the lock.
    waiting = [command("status", name), command("check", name), command("post", name, "a", "b")]
    for each in waiting:
        status, out, err = each.end()
        assert (status, out) == (1, "")
        assert err.startswith(f"stdevents: bus {name!r}: its lock could not be taken ")
        holder = f"process {os.getpid()}" if sys.platform.startswith("linux") else "a worker"
        assert f"; {holder} holds it" in err
    assert command("clean", name).end() == (0, f"{name}: in use, left alone\n", "")
    fcntl.flock(lock, fcntl.LOCK_UN)

    watch = command("status", name, "--watch", "--json")
    assert json.loads(watch.line())["workers"]
    fcntl.flock(lock, fcntl.LOCK_EX)
    while "error" not in json.loads(watch.line()):
        pass
    os.close(lock)
    while "error" in json.loads(watch.line()):
        pass
    assert watch.signal(signal.SIGINT).end()[::2] == (0, "")


# -- check -----------------------------------------------------------------------------------------


@pytest.fixture
def segment(name):
    """The segment of a bus that has been round its ring and its slots, with claims in it."""
    bus = stdevents.Bus(name, size="16k", interval=0, timeout=1000)
    bus.register(lambda *event: None)
    for number in range(3 * bus._session.segment.layout.events):
        bus.post("test", "tick", "x" * (number % 500), unique=number if number % 7 == 0 else None)
        bus.poll()
    segment = bus._session.segment
    before = bytes(segment.bytes), bytes(segment.ring)
    yield segment
    segment.bytes[:], segment.ring[:] = before
    bus.close()


def test_a_sound_bus_has_no_fault(command, name, segment):
    layout = segment.layout
    slots = layout.events + layout.claims + layout.workers

    assert command("check", name).end() == (0, f"{slots} slots checked, no fault\n", "")


def test_a_fault_is_told_in_a_line(command, name, segment):
    number = segment.words[_layout.LAST] - 1
    segment.words[segment.layout.slot_of(number) + _layout.EVENT_CHECKSUM] ^= 1

    assert command("check", name).end() == (1, f"event {number}: its checksum is wrong\n", "")


@pytest.mark.parametrize("byte", range(_layout.WORD * _layout.EVENT_CLAIMED))
def test_check_finds_a_flipped_byte_of_an_event_slot(name, segment, byte):
    at = _layout.WORD * segment.layout.slot_of(segment.words[_layout.LAST] - 5) + byte
    segment.bytes[at] ^= 0x40

    assert check(name)


@pytest.mark.parametrize("word", ["MAGIC", "SIZE", "WORKERS", "CLAIMS", "EVENTS", "OVERFLOW"])
def test_check_finds_a_flipped_byte_of_the_header(name, segment, word):
    segment.bytes[_layout.WORD * getattr(_layout, f"HEADER_{word}")] ^= 0x40

    (fault,) = check(name)
    assert fault.startswith(f"bus {name!r}: its shared memory ")


@pytest.mark.parametrize("byte", range(_layout.WORD))
def test_check_finds_a_flipped_byte_of_last(name, segment, byte):
    segment.bytes[_layout.WORD * _layout.LAST + byte] ^= 0x40

    assert check(name)


def test_check_finds_an_intent_that_is_too_low(name, segment):
    segment.words[_layout.INTENT] -= 1

    assert any("INTENT" in fault for fault in check(name))


@pytest.mark.parametrize("change", [-1, 16384 // 256])
def test_check_finds_an_intent_that_no_post_has_had(name, segment, change):
    segment.words[_layout.INTENT_ID] += change

    assert any("INTENT_ID" in fault for fault in check(name))


def test_check_finds_a_flipped_byte_of_the_ring(name, segment):
    """Each of the events that can still be read."""
    last = segment.words[_layout.LAST]
    for number in (last, last - 1, last - 10):
        slot = segment.layout.slot_of(number)
        position = segment.words[slot + _layout.EVENT_POSITION]
        segment.ring[position % segment.layout.size] ^= 0x01
        assert check(name) == [f"event {number}: its checksum is wrong"]
        segment.ring[position % segment.layout.size] ^= 0x01


def test_check_finds_a_worker_that_is_ahead_of_the_bus(name, segment):
    at = _layout.HEADER_WORDS + _layout.WORKER_POSITION
    segment.words[at] += 1

    (fault,) = check(name)
    assert fault.startswith("worker slot 0: its position is ")


def test_check_finds_a_worker_whose_slot_is_empty(name, segment):
    segment.words[_layout.HEADER_WORDS + _layout.WORKER_PID] = 0

    assert check(name) == ["worker slot 0: its file is held, and the slot says by nobody"]


@pytest.mark.parametrize(
    ("word", "bit"), [("KEY_LOW", 1 << 5), ("PID", 1 << 5), ("EVENT", 1 << 40)]
)
def test_check_finds_a_claim_that_cannot_be(name, segment, word, bit):
    layout, words = segment.layout, segment.words
    for slot in range(layout.claims):
        at = layout.claims_at + slot * _layout.CLAIM_WORDS
        if words[at + _layout.CLAIM_EVENT] > words[_layout.LAST] - layout.events:
            break
    words[at + getattr(_layout, f"CLAIM_{word}")] ^= bit

    assert any(fault.startswith(f"claim slot {slot}: ") for fault in check(name))


def test_check_takes_no_bus_in_use_for_damaged(name, worker):
    """While others post, and are killed in the middle of a post (G2)."""
    posting = """
import sys, stdevents
bus = stdevents.Bus(sys.argv[1], size="8k", interval=0, timeout=0.001)
bus.register(lambda *event: None)
print("open", flush=True)
n = 0
while True:
    n += 1
    bus.post("test", "tick", "x" * (n % 400), unique=n % 20 if n % 3 == 0 else None)
    bus.poll()
"""
    worker(size="8k")
    for _ in range(8):
        program = Program(start(posting, name))
        assert program.line() == "open"
        for _ in range(10):
            assert check(name) == []
        program.signal(signal.SIGKILL).end()
        assert check(name) == []


# -- clean -----------------------------------------------------------------------------------------


def test_clean_leaves_a_live_bus_alone(command, name, worker):
    a_worker = worker()

    assert command("clean", name).end() == (0, f"{name}: in use, left alone\n", "")
    assert a_worker.say('["test", "tick"]') == []
    assert a_worker.say('"poll"') == ['["tick", null]']


def test_clean_removes_what_killed_workers_left(command, name, worker):
    """G9."""
    workers = [worker(), worker()]
    for a_worker in workers:
        a_worker.signal(signal.SIGKILL).end()
    assert len(_segment.traces(name)) == 2

    assert command("clean", name).end() == (0, f"{name}: removed\n", "")
    assert _segment.traces(name) == []


def test_clean_removes_a_folder_that_was_only_just_made(command, name):
    _folder.Folder(name).make()

    assert command("clean", name).end() == (0, f"{name}: removed\n", "")


def test_clean_without_a_name_takes_all_that_is_there(name, worker, monkeypatch, capsys):
    worker()
    stale = f"{name}-stale"
    program = Program(start(WORKER, stale, "{}"))
    program.line()
    program.signal(signal.SIGKILL).end()
    assert {name, stale} <= set(_folder.names())
    # The buses of other tests are none of ours.
    monkeypatch.setattr(_clean, "names", lambda: [name, stale])
    monkeypatch.setattr(_clean, "remove_lost_segments", list)

    assert _clean.main(None) == 0
    assert capsys.readouterr().out == f"{name}: in use, left alone\n{stale}: removed\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="segments cannot be listed here")
def test_clean_removes_a_segment_that_has_lost_its_folder(name, worker, monkeypatch):
    program = worker()
    program.signal(signal.SIGKILL).end()
    folder = _folder.Folder(name)
    folder.remove()
    path = os.path.join(_folder.root(), folder.segment_name)
    all_segments = _clean._segments()
    assert path in all_segments
    monkeypatch.setattr(_clean, "_segments", lambda: {path: all_segments[path]})

    assert _clean.remove_lost_segments() == [path]
    assert _segment.traces(name) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="segments cannot be listed here")
def test_clean_leaves_a_segment_alone_whose_folder_is_there(name, worker, monkeypatch):
    worker()
    path = os.path.join(_folder.root(), _folder.Folder(name).segment_name)
    all_segments = _clean._segments()
    monkeypatch.setattr(_clean, "_segments", lambda: {path: all_segments[path]})

    assert _clean.remove_lost_segments() == []


def test_the_names_of_buses_are_those_of_folders(name, worker):
    worker()
    segment = _folder.Folder(name).segment_name

    assert name in _folder.names()
    assert not [other for other in _folder.names() if segment.endswith(other)]
