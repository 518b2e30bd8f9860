"""G7, G9: every way in which Python starts a process makes workers, and nothing is left of them."""

from __future__ import annotations

import multiprocessing
import sys

import pytest
from programs import run, run_file, start

METHODS = multiprocessing.get_all_start_methods()

POOL = """
import json, multiprocessing, os, sys, warnings
import stdevents

# A pool forks from a thread of its own when it replaces a worker; not on our account.
warnings.filterwarnings("ignore", ".*multi-threaded.*", DeprecationWarning)

def work(number):
    stdevents.post("pool", "did", number)
    return os.getpid()

def main(name, method, tasks_per_child):
    seen = []

    @stdevents.on()
    def note(data, event, source, pid):
        seen.append([source, event, data, pid])

    stdevents.configure(name, interval=0.02)
    context = multiprocessing.get_context(method)
    pool = context.Pool(
        3,
        initializer=stdevents.configure,
        initargs=(name,),
        maxtasksperchild=tasks_per_child or None,
    )
    pids = pool.map(work, range(30), chunksize=1)
    pool.close()
    pool.join()
    stdevents.poll()
    assert stdevents.stats().lost == 0
    assert [worker.pid for worker in stdevents.workers()] == [os.getpid()]
    stdevents.close()
    print(json.dumps({"me": os.getpid(), "pids": pids, "seen": seen}))

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""

PROCESSES = """
import json, multiprocessing, sys
import stdevents

def live(name, number, everybody_is_there, everybody_has_posted):
    seen = []
    stdevents.register(lambda data, event, source, pid: seen.append(data), "process")
    stdevents.configure(name, interval=0)
    everybody_is_there.wait(30)
    for count in range(50):
        stdevents.post("process", "event", [number, count])
    everybody_has_posted.wait(30)
    stdevents.poll()
    stdevents.post("result", "event", seen)

def main(name, method):
    results, seen, ends = [], [], []
    stdevents.register(lambda data, event, source, pid: results.append(data), "result")
    stdevents.register(lambda data, event, source, pid: seen.append(data), "process")
    stdevents.register(lambda data, event, source, pid: ends.append(pid), "stdevents", "stopping")
    stdevents.configure(name, interval=0)
    context = multiprocessing.get_context(method)
    barriers = context.Barrier(3), context.Barrier(3)
    processes = [
        context.Process(target=live, args=(name, number, *barriers)) for number in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    stdevents.poll()
    print(json.dumps({
        "codes": [process.exitcode for process in processes],
        "pids": [process.pid for process in processes],
        "results": results, "seen": seen, "ends": ends,
    }))

if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize("method", METHODS)
def test_the_workers_of_a_pool(name, tmp_path, method):
    """G7: `configure` is the initializer. Each worker says when it starts, and when it ends."""
    told = run_file(tmp_path, POOL, name, method, 0)
    did = [entry for entry in told["seen"] if entry[:2] == ["pool", "did"]]
    assert sorted(data for _, _, data, _ in did) == list(range(30))
    assert {pid for _, _, _, pid in did} == set(told["pids"])
    started = [pid for _, event, _, pid in told["seen"] if event == "started"]
    stopping = [pid for _, event, _, pid in told["seen"] if event == "stopping"]
    assert len(started) == 4
    assert sorted(started) == sorted({*stopping, told["me"]})
    assert set(told["pids"]) <= set(stopping)


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_that_replaces_its_workers(name, tmp_path, method):
    """G7, G9: `maxtasksperchild`."""
    told = run_file(tmp_path, POOL, name, method, 6)
    did = [(data, pid) for _, event, data, pid in told["seen"] if event == "did"]
    assert sorted(did) == list(enumerate(told["pids"]))
    started = [pid for _, event, _, pid in told["seen"] if event == "started"]
    stopping = [pid for _, event, _, pid in told["seen"] if event == "stopping"]
    assert len(set(told["pids"])) >= 5
    assert sorted(started) == sorted({*stopping, told["me"]})


@pytest.mark.parametrize("method", METHODS)
def test_plain_processes(name, tmp_path, method):
    """G1, G7: those that only know the name see the same in the same order."""
    told = run_file(tmp_path, PROCESSES, name, method)
    assert told["codes"] == [0, 0, 0]
    assert told["results"] == [told["seen"]] * 3
    assert len(told["seen"]) == 150
    for number in range(3):
        counts = [count for poster, count in told["seen"] if poster == number]
        assert counts == list(range(50))
    assert sorted(told["ends"]) == sorted(told["pids"])


def test_an_interrupt_while_a_process_ends_leaves_no_bus_behind(name, tmp_path, interruptible):
    """G9: of several buses it cuts off the close of one; the others are closed nevertheless."""
    program = """
import json, multiprocessing, os, signal, sys, threading
import stdevents

def live(names, everybody_is_there):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # for the traceback of the interrupt
    first, second = stdevents.Bus(names[0]), stdevents.Bus(names[1], wait_max=60)
    runs = threading.Event()
    def handle(*_):
        runs.set()
        threading.Event().wait()
    second.register(handle, "test")
    second.post("test", "event")
    runs.wait(60)
    everybody_is_there.wait(60)

if __name__ == "__main__":
    names = sys.argv[1], sys.argv[1] + ".2"
    context = multiprocessing.get_context("fork")
    everybody_is_there = context.Event()
    child = context.Process(target=live, args=(names, everybody_is_there))
    child.start()
    told = [], []
    buses = [stdevents.Bus(one, interval=0) for one in names]
    for bus, pids in zip(buses, told):
        bus.register(lambda *event, pids=pids: pids.append(event[3]), "stdevents", "stopping")
    everybody_is_there.set()
    while not told[1]:
        buses[1].poll()
    os.kill(child.pid, signal.SIGINT)
    child.join()
    buses[0].poll()
    print(json.dumps([[len(bus.workers()) for bus in buses], told == ([child.pid],) * 2]))
"""
    assert run_file(tmp_path, program, name) == [[1, 1], True]


def test_a_program_that_joins_by_name(bus, name):
    """G7: through exec nothing is handed on but the name."""
    seen = []
    bus.register(lambda data, event, source, pid: seen.append((data, pid)), "program")
    process = start(
        """
import sys, stdevents
stdevents.register(lambda data, event, source, pid: stdevents.post("program", "echo", data), "ask")
stdevents.configure(sys.argv[1], interval=0)
print("ready", flush=True)
sys.stdin.readline()
stdevents.poll()
""",
        name,
    )
    assert process.stdout.readline() == "ready\n"
    bus.post("ask", "event", [1, "é", None])
    out, err = process.communicate("go\n", timeout=30)
    assert (out, err, process.returncode) == ("", "", 0)
    bus.poll()
    assert seen == [([1, "é", None], process.pid)]


def test_a_program_of_its_own_leaves_nothing(name):
    """G9: not even when it never closes, nor polls."""
    out = run(
        """
import sys, stdevents
stdevents.configure(sys.argv[1])
print(stdevents.post("test", "event"))
""",
        name,
    )
    assert out == "2\n"


def test_a_finaliser_at_the_end_of_the_program_can_open_no_bus(name):
    """The loop's thread could not run any more, and its start, with all signals blocked, hung."""
    out = run(
        """
import sys, stdevents

class Late:
    def __del__(self, stdevents=stdevents, name=sys.argv[1]):
        for options in {}, {"interval": 0}:
            try:
                stdevents.configure(name, **options)
            except stdevents.StdeventsError as error:
                print(error, flush=True)

late = Late()
sys.modules["kept to the end"] = late
""",
        name,
    )
    assert sys.implementation.name == "pypy" or out.count("shutting down") == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.skipif(
    sys.implementation.name == "pypy",
    reason="PyPy's mmap keeps a copy of the descriptor, which stays open over exec",
)
def test_exec_closes_what_a_worker_had_open(name):
    """G7, G9: what it becomes is no worker, and what it left is recognised as left."""
    out = run(
        """
import os, sys, stdevents
name = sys.argv[1]
bus = stdevents.Bus(name)
if not os.fork():
    os.execvp("ls", ["ls", "-l", "/proc/self/fd", "/proc/self/map_files"])
os.wait()
print(len(bus.workers()))
""",
        name,
    )
    assert "/proc/self/fd" in out
    assert "stdevents" not in out
    assert out.endswith("\n1\n")


@pytest.mark.parametrize("method", METHODS)
def test_a_visitor_leaves_the_bus_as_it_was(name, tmp_path, method):
    """G9: an attached process that exits does not take the segment with it."""
    program = """
import json, multiprocessing, sys, stdevents

def visit(name):
    stdevents.configure(name)
    stdevents.post("visitor", "was here")

if __name__ == "__main__":
    seen = []
    bus = stdevents.Bus(sys.argv[1], interval=0)
    bus.register(lambda data, event, source, pid: seen.append(event), "visitor")
    for _ in range(3):
        visitor = multiprocessing.get_context(sys.argv[2]).Process(target=visit, args=sys.argv[1:2])
        visitor.start()
        visitor.join()
        bus.post("visitor", "is gone")
        bus.poll()
    print(json.dumps([seen, bus.stats().lost]))
"""
    if method == "fork":
        program = program.replace(
            "    bus = stdevents.Bus(sys", "    bus = stdevents.configure(sys"
        )
    assert run_file(tmp_path, program, name, method) == [["was here", "is gone"] * 3, 0]


ENDS_WITH_ITS_THREAD = """
import os, sys, threading, warnings
import stdevents

warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
bus = stdevents.Bus(sys.argv[1], interval=600)
handled = threading.Event()
bus.register(lambda *_: handled.set(), "test")
children, told = [], os.pipe()

def go_on():
    handled.wait()  # by the loop of the child, since its thread that forked has ended
    os.write(told[1], b"handled")

def fork():
    child = os.fork()
    if not child:
        if "goes on" in sys.argv:
            threading.Thread(target=go_on).start()
        sys.exit()
    children.append(child)

thread = threading.Thread(target=fork)
thread.start()
thread.join()
if "goes on" in sys.argv:
    bus.post("test", "event")
    assert os.read(told[0], 100) == b"handled"
print(os.waitpid(children[0], 0)[1], [worker.pid for worker in bus.workers()] == [os.getpid()])
"""


@pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="CPython stops all other threads of such a child when that thread ends",
)
@pytest.mark.parametrize("another_thread", ["goes on", "is not there"])
def test_a_child_that_a_thread_forks_ends_with_that(name, another_thread):
    """Or with its last thread that is no daemon. Its loop does not keep it as a worker for ever."""
    assert run(ENDS_WITH_ITS_THREAD, name, another_thread) == "0 True\n"


def test_a_child_that_a_handler_of_the_loop_forks_goes_on_by_its_own_loop(name):
    program = """
import os, sys, warnings
import stdevents

warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
bus = stdevents.Bus(sys.argv[1], interval=600)
parent, told = os.getpid(), os.pipe()

@bus.on("test", "fork")
def fork(data, event, source, pid):
    os.fork()

@bus.on("test", "after")
def after(data, event, source, pid):
    if os.getpid() != parent:
        os.write(told[1], str(data).encode())
        if data == 2:
            os._exit(0)

bus.post("test", "fork")
while len(bus.workers()) < 2:
    pass
for number in range(3):
    bus.post("test", "after", number)
    print(os.read(told[0], 1).decode())
os.wait()
"""
    assert run(program, name) == "0\n1\n2\n"
