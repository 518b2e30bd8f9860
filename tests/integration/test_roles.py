"""The programs of docs/roles.md, in what they are for."""

from __future__ import annotations

import os
import re
import signal
from contextlib import closing
from pathlib import Path

import pytest
from inside import folder_of
from servers import EXAMPLES, PATIENCE, wait_until

import stdevents

PAGE = (EXAMPLES.parent / "docs" / "roles.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
JOBS = 30


@pytest.fixture
def write(examples, name):
    """`write(file)` writes that program of the page, on a bus of the test's own."""

    def write(file, **replaced):
        text = PROGRAMS[file].replace('"my-app"', f'"{name}"')
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        (examples / file).write_text(text, encoding="utf-8")

    return write


def jobs_of(process):
    """Who ran which job, as its log tells."""
    return [(int(pid), int(job)) for pid, job in re.findall(r"(\d+) runs (\d+)", process.log())]


def post_jobs(name, first=0):
    with closing(stdevents.Bus(name, role="poster")) as bus:
        for number in range(first, first + JOBS):
            event = bus.post("jobs", "run", number, unique=f"job {number}")
            assert bus.wait(event, timeout=PATIENCE)  # so that each is a race of its own


def test_each_program_of_the_page_is_here():
    assert len(PROGRAMS) == PAGE.count("```python") == 5


def test_the_process_that_watches_for_the_reloader_runs_no_job(write, serve, name, examples, told):
    write("reloader.py", **{"app.run(": 'app.run("unix://" + __import__("sys").argv[1], '})
    server = serve("python", "reloader.py", "{socket}", path="/")
    first = server.ask("/")["pid"]
    assert first != server.pid
    post_jobs(name)
    wait_until(lambda: len(jobs_of(server)) == JOBS, server.log)
    later = (examples / "reloader.py").stat().st_mtime + 10
    os.utime(examples / "reloader.py", (later, later))  # a change

    def another():
        server.wait("/")
        try:
            pid = server.ask("/")["pid"]
        except ConnectionError:  # of the first one, which is just ending
            return None
        return pid if pid != first else None

    second = wait_until(another, server.log)
    post_jobs(name, JOBS)
    assert jobs_of(server) == [(second if job >= JOBS else first, job) for job in range(2 * JOBS)]
    os.kill(second, signal.SIGTERM)  # the other one would kill this one without waiting for its end
    assert server.end() == 0
    told(f"{JOBS} jobs before a reload, {JOBS} after it, none by the process that watches")


def test_what_a_preloading_fork_server_forks_are_workers(write, start, name, told):
    write("warm.py")
    write("serve.py")
    program = start("python", "serve.py")
    assert program.end() == 0, program.log()
    jobs = jobs_of(program)
    assert sorted(job for _, job in jobs) == [*range(JOBS)]
    pids = {pid for pid, _ in jobs}
    assert program.pid not in pids
    assert len(pids) <= 3
    wait_until(lambda: not Path(folder_of(name)).exists(), "the end of the fork server")
    told(f"{JOBS} jobs, each once, by {len(pids)} of 3 processes")


def test_a_cron_job_tells_the_workers_or_learns_that_there_are_none(write, start, serve, told):
    write("imported.py")
    alone = start("python", "imported.py")
    assert alone.end() == 0
    assert alone.log() == "no worker is there: nobody has an old price\n"
    server = serve("gunicorn", "-b", "unix:{socket}", "-c", "gunicorn_conf.py", "flask_app:app")
    server.until_all("/prices/tea", 4, lambda answer: True)
    job = start("python", "imported.py")
    assert job.end() == 0
    assert job.log().endswith("all workers know\n")
    answers = server.crowd("/prices/tea")
    assert not all(answer["cached"] for answer in answers)
    server.stop()
    told("told four workers, and before them nobody")


def test_a_master_keeps_the_bus_and_runs_no_job(write, serve, name, told):
    write("master_conf.py")
    server = serve("gunicorn", "-b", "unix:{socket}", "-c", "master_conf.py", "flask_app:app")
    workers = server.change_price("tea", 4)
    post_jobs(name)
    last = server.ask("/prices/tea", "4.00")["event"]
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    successors = server.until_all("/prices/tea", 4, lambda answer: answer["pid"] not in workers)
    assert server.ask("/prices/tea", "5.00")["event"] > last  # the same bus
    post_jobs(name, JOBS)
    jobs = jobs_of(server)
    assert sorted(job for _, job in jobs) == [*range(2 * JOBS)]
    assert {pid for pid, _ in jobs} <= workers | successors
    server.send(signal.SIGTERM)
    server.end()
    told(f"{len(jobs)} jobs, none by the master, which kept the bus while all workers were killed")
