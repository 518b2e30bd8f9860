"""The README's programs for FastAPI and gunicorn, in these servers."""

from __future__ import annotations

import re

import pytest
from servers import EXAMPLES, wait_until

PAGE = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
WORKERS = 3


@pytest.fixture
def write(examples, name):
    """`write(file)` writes that program, on a bus of the test's own."""

    def write(file):
        text = PROGRAMS[file].replace('"my-app"', f'"{name}"')
        assert text != PROGRAMS[file]
        (examples / file).write_text(text, encoding="utf-8")

    return write


def test_fastapi_answers_a_change_when_all_workers_have_dropped_it(write, serve, witness, told):
    write("app.py")
    command = ("uvicorn", "--uds", "{socket}", "--workers", str(WORKERS), "--log-level", "warning")
    server = serve(*command, "app:app", path="/openapi.json")
    watching = witness()
    wait_until(lambda: len(watching.others()) == WORKERS, server.log)
    dropped = []
    watching.bus.register(lambda data, *_: dropped.append(data), "cache", "drop")
    watching.bus.configure(interval=0.05)  # the witness is waited for, too
    for _ in range(10):
        assert server.read("/rows/7", "") == "true"
    assert dropped == [{"key": "7"}] * 10
    assert len(watching.others()) == WORKERS
    watching.bus.close()
    server.stop()
    told(f"{WORKERS} workers, {server.requests} requests")


def test_gunicorn_opens_the_bus_in_each_worker(write, serve, told):
    write("gunicorn.conf.py")
    server = serve("gunicorn", "-b", "unix:{socket}", "-w", str(WORKERS), "flask_app:app")
    workers = server.change_price("tea", WORKERS)
    server.stop()
    told(f"{len(workers)} workers acted, {server.requests} requests")
