"""The examples that are programs: pools of all kinds, a script that forks, caches, a refresh."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys

import pytest
import trio
from servers import environment, wait_until

import stdevents
from stdevents import aio

POOL = "workers had it cached, and have dropped it"
# CPython 3.13 counts the loop's thread at a fork, though it has ended: docs/caveats.md.
COUNTS_LATE = sys.version_info[:2] == (3, 13)
FORKS = ["-W", "ignore:This process (pid:DeprecationWarning"] if COUNTS_LATE else []


@pytest.fixture
def program(start, told):
    """`program(file, ...)` runs it to its end, and returns its lines."""

    def run(file, *arguments):
        process = start("python", *FORKS, "-W", "error::ResourceWarning", file, *arguments)
        assert process.end() == 0, process.log()
        lines = process.log().splitlines()
        for line in lines:
            told(line)
        return lines

    return run


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_worker_of_a_pool_acts(method, program):
    assert program("pool.py", method) == [
        f"Pool, {method}: 3 {POOL}",
        f"ProcessPoolExecutor, {method}: 3 {POOL}",
    ]


def test_every_worker_of_joblib_acts(program):
    assert program("joblib_pool.py") == [
        f"joblib, loky: 3 {POOL}",
        f"joblib, multiprocessing: 3 {POOL}",
    ]


def test_a_dict_and_an_lru_cache(program):
    child, parent = program("cache.py")
    assert re.fullmatch(r"the child \d+ has dropped both", child)
    assert re.fullmatch(r"the parent \d+ has dropped both: {}, 0", parent)


def test_one_of_four_refreshes_for_all(program):
    lines = program("refresh.py")
    (refreshes,) = [line for line in lines if line.endswith(" fetches them")]
    fresh = [re.search(r"fresh by (\d+)", line)[1] for line in lines if line != refreshes]
    assert len(fresh) == 4
    assert {f"worker {pid} fetches them" for pid in fresh} == {refreshes}


def test_one_of_four_leads_and_the_next_when_it_is_killed(program):
    lines = program("leader.py")
    assert len({re.match(r"worker (\d+) ran it, and is dead", line)[1] for line in lines}) == 4


def test_each_worker_with_trio_handles_what_is_posted(program):
    lines = program("trio_app.py")
    workers = {re.match(r"worker (\d+) has", line)[1] for line in lines}
    assert len(workers) == 3
    assert sorted(lines) == sorted(
        f"worker {pid} has '{job}'" for pid in workers for job in ("begin", "stop")
    )


def test_a_worker_that_starts_late_has_the_flags_of_the_others(program):
    lines = program("late.py")
    themes = [re.search(r"'theme', '(.+)'", line)[1] for line in lines]
    assert themes == ["light", "dark 0", "dark 1"]


@pytest.mark.parametrize(
    ("file", "last_line_of_a_handler"),
    [
        ("cache.py", "    rate.cache_clear()\n"),
        ("pool.py", '    cache.pop(data["item"], None)\n'),
        ("refresh.py", "    cache.update(data)\n"),
    ],
    ids=["cache", "pool", "refresh"],
)
def test_a_handler_that_fails_is_seen(file, last_line_of_a_handler, examples, start):
    example = examples / file
    text = example.read_text()
    assert last_line_of_a_handler in text
    failing = f"{last_line_of_a_handler}    raise RuntimeError('seen')\n"
    example.write_text(text.replace(last_line_of_a_handler, failing))
    process = start("python", file)
    assert process.end() == 0
    assert "event callback failed; " in process.log()
    assert "RuntimeError: seen" in process.log()


def test_a_shell_stops_a_script_and_its_children(start, name, told, examples):
    script = start("python", *FORKS, "forked.py")

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "stdevents", *arguments],
            env=environment(),
            capture_output=True,
            text=True,
        )

    def all_there():
        seen = command("status", name, "--json").stdout
        return seen.count('"pid"') == 4

    wait_until(all_there, "the script and its children")
    assert command("post", name, "jobs", "stop", '"enough"').returncode == 0
    assert script.end() == 0, script.log()
    lines = script.log().splitlines()
    assert len({line.split()[0] for line in lines}) == 4
    assert all(line.endswith(": enough") for line in lines)
    told(f"{len(lines)} processes stopped")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_wrong_call_in_an_initializer_shows_in_the_parent(method, examples, start):
    """The executor breaks, and says so; what was wrong is on standard error, with the way out."""
    (examples / "wrong.py").write_text(
        f"""
import multiprocessing, stdevents
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with ProcessPoolExecutor(2, context, stdevents.configure, ("my-app\\0",)) as executor:
        executor.submit(print).result()
"""
    )
    process = start("python", "wrong.py")
    assert process.end() == 1
    assert "BrokenProcessPool" in process.log()
    assert re.search(r"ValueError: name: .*my-app", process.log()), process.log()


def test_what_is_for_asyncio_says_so_under_trio(name):
    async def attach():
        async with aio.AsyncBus(bus):
            pass

    bus = stdevents.Bus(name, interval=0)
    with contextlib.closing(bus), pytest.raises(RuntimeError, match="trio's, wait for"):
        trio.run(attach)
