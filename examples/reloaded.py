"""Has everybody reloaded? Waits until every worker runs the code that is there now.

    pip install . flask gunicorn prometheus_client
    cd examples; gunicorn -c gunicorn_conf.py metrics_app:app
    python examples/reloaded.py

For a deployment: after `kill -HUP` it says when no worker has the old code any more. The answerer
is in metrics_app.py. As a listener this script is no worker: it is told of events, and not asked.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import stdevents

CODE = Path(__file__).with_name("metrics_app.py")
PATIENCE = 60  # seconds
changed = threading.Event()


@stdevents.on("stdevents", "started", "stopping")
def look_again(data, event, source, pid):
    changed.set()


def main():
    stdevents.configure("my-app", role="listener")
    version = CODE.stat().st_mtime
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        changed.clear()
        answers = stdevents.ask("app", "version").values()
        behind = [answer.pid for answer in answers if answer.value != version]
        if answers and not behind:
            print(f"all {len(answers)} workers run it", flush=True)
            return 0
        print(f"{len(behind)} of {len(answers)} workers do not run it yet: {behind}", flush=True)
        changed.wait(1)  # not for ever: a worker that is killed says nothing
    return 1


if __name__ == "__main__":
    sys.exit(main())
