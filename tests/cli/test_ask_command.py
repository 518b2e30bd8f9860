"""The command `ask`."""

from __future__ import annotations

import json
import os

import pytest
from commands import Program, lines_of, terminal
from programs import start

pytestmark = pytest.mark.usefixtures("interruptible")

ANSWERER = """
import os, sys, stdevents
bus = stdevents.Bus()
@bus.answer("cache", "size")
def size(data, event, source, pid):
    if data == "fail":
        raise ValueError("secret")
    return [os.getpid(), data, "\\x1b[2J"]
with bus.configure(sys.argv[1], interval=1):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def answerer(programs, name):
    """`answerer()` starts a worker that answers."""
    started = []

    def answerer():
        program = Program(start(ANSWERER, name))
        programs.append(program)
        started.append(program)
        assert program.line() == "open"
        return program

    yield answerer
    for program in started:
        program.end()


def test_the_workers_answer_in_lines_of_json(called, name, answerer):
    pids = [answerer().process.pid for _ in range(2)]
    status, out, err = called("ask", name, "cache", "size", '{"key": 7}', "--timeout", "20")
    assert (status, err) == (0, "")
    assert lines_of(out) == [
        {"slot": slot, "pid": pid, "value": [pid, {"key": 7}, "\x1b[2J"], "error": None}
        for slot, pid in enumerate(pids)
    ]


def test_a_worker_that_gives_no_answer_is_a_failure(called, name, worker, answerer):
    """The others' answers are printed."""
    answerer()
    other = worker()
    status, out, err = called("ask", name, "cache", "size", "--timeout", "0.5")
    assert (status, err) == (1, "")
    first, second = lines_of(out)
    assert first["error"] is None
    assert second == {
        "slot": 1,
        "pid": other.pid,
        "value": None,
        "error": "no answer within 0.5 s",
    }


def test_an_error_comes_without_the_payload(called, name, answerer):
    program = answerer()
    status, out, err = called("ask", name, "cache", "size", '"fail"', "--timeout", "20")
    assert (status, err) == (1, "")
    assert lines_of(out)[0]["error"] == "its answerer failed: ValueError; see its log"
    assert "event callback failed; source=cache, event=size" in program.end()[2]


def test_on_a_terminal_it_is_a_table(name, answerer, programs, command):
    """And nothing in it steers the terminal."""
    pid = answerer().process.pid
    ours, theirs = terminal()
    arguments = ["ask", name, "cache", "size", "7", "--timeout", "20"]
    process = command(*arguments, stdout=theirs, TERM="dumb")
    os.close(theirs)
    assert process.end()[0] == 0
    shown = os.read(ours, 4096).decode().splitlines()
    os.close(ours)
    assert shown == [
        " slot       pid  answer",
        f"{0:>5}{pid:>10}  " + json.dumps([pid, 7, "\x1b[2J"]),
    ]


def test_a_question_reads_its_data_from_standard_input(command, name, answerer):
    answerer()
    asking = command("ask", name, "cache", "size", "-", "--timeout", "20")
    asking.process.stdin.write("[1]")
    assert lines_of(asking.end()[1])[0]["value"][1] == [1]


@pytest.mark.parametrize(
    "arguments",
    [("cache", "size", "{key: 7}"), ("cache", "size", "1", "--timeout", "-1"), ("", "size")],
)
def test_what_cannot_be_asked_is_an_error(called, name, answerer, arguments):
    answerer()
    status, out, err = called("ask", name, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("stdevents: ") and err.count("\n") == 1


def test_where_there_is_no_bus_nobody_is_asked(called, name):
    status, out, err = called("ask", name, "cache", "size")
    assert (status, out) == (2, "")
    assert name in err
