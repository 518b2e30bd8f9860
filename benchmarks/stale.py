"""Stale answers after a change, and what a change costs, by wrk: the apps of examples/ in servers.

pip install flask gunicorn fastapi uvicorn; apt install wrk
python benchmarks/stale.py [seconds] [connections]

With `wait` before a change is answered, with a poll before each request, and with neither: a
request is stale if it began after the change was answered, and gets the old price.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import stdevents

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
BIN = Path(sys.executable).parent
WORKERS, PATIENCE = 4, 30
GUNICORN = (BIN / "gunicorn", "--log-level", "warning", "-c", "gunicorn_conf.py")
UVICORN = (BIN / "uvicorn", "--log-level", "warning", "--workers", WORKERS)

# What is measured, and what is taken out of the example for it.
APPS = {
    "Flask, gthread: wait": ("together_app", "gthread", ()),
    "Flask, sync: wait": ("together_app", "sync", ()),
    "Flask, gthread: poll before each request": ("flask_app", "gthread", ()),
    "Flask, gthread: neither": ("flask_app", "gthread", ("    stdevents.poll()\n",)),
    "FastAPI, uvicorn: wait": ("fastapi_app", "uvicorn", ()),
    "FastAPI, uvicorn: no wait": (
        "fastapi_app",
        "uvicorn",
        ("if not await bus.wait(event, timeout=5):", "if False:"),
    ),
}


def folder_with(module, replaced, name, connections):
    """A copy of the examples, on a bus of its own, with the prices of each connection."""
    memory = "/dev/shm"  # a disk may take longer than all else
    folder = tempfile.TemporaryDirectory(prefix="stale-", dir=memory)
    for example in EXAMPLES.glob("*.py"):
        text = example.read_text(encoding="utf-8").replace('"my-app"', f'"{name}"')
        if replaced and example.stem == module:
            old, new = (*replaced, "    pass\n")[:2]
            assert old in text
            text = text.replace(old, new)
        Path(folder.name, example.name).write_text(text, encoding="utf-8")
    for number in range(connections):
        Path(folder.name, f"price-wrk-{number}").write_text("0")
    return folder


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for_workers(name, server):
    """Wait until all of them are on the bus."""
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with stdevents.Bus(name, role="poster") as bus:
                if len(bus.workers()) == WORKERS:
                    return
        except stdevents.SegmentError:  # nobody is there yet
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the server has not {WORKERS} workers after {PATIENCE} s")


def measure(module, server, replaced, seconds, connections):
    """What wrk says of one app."""
    port, name = free_port(), f"stale-{os.getpid()}"
    if server == "uvicorn":
        command = [*UVICORN, "--port", port]
    else:
        command = [*GUNICORN, "-k", server, "--threads", 4, "-b", f"127.0.0.1:{port}"]
    with folder_with(module, replaced, name, connections) as folder:
        process = subprocess.Popen(
            [*map(str, command), f"{module}:app"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(HERE.parent), "PRICES": folder},
        )
        try:
            wait_for_workers(name, process)
            wrk = ["wrk", f"-t{connections}", f"-c{connections}", f"-d{seconds}", "--timeout", "30"]
            script = ["-s", HERE / "stale.lua", f"http://127.0.0.1:{port}"]
            done = subprocess.run([*wrk, *script], stdout=subprocess.PIPE, text=True, check=True)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    return json.loads(done.stdout.splitlines()[-1])


def main():
    seconds, connections = (*map(int, sys.argv[1:]), *(30, 4)[len(sys.argv) - 1 :])
    print(f"{WORKERS} workers, {connections} connections, {seconds} s each, {os.cpu_count()} cores")
    print(
        "\n| | requests | of them changes | stale | failed | a change, median (p99) | a look-up |"
    )
    print("|---|---|---|---|---|---|---|")
    for what, (module, server, replaced) in APPS.items():
        said = measure(module, server, replaced, seconds, connections)
        put, get = (
            f"{ms[0] / 1e3:.2f} ({ms[1] / 1e3:.2f}) ms" for ms in (said["put"], said["get"])
        )
        counts = [said["puts"] + said["gets"], said["puts"], said["stale"], said["failed"]]
        print("|", " | ".join(map(str, [what, *counts, put, get])), "|", flush=True)


if __name__ == "__main__":
    main()
