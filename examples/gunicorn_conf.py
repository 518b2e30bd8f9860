"""gunicorn with sync or gthread workers: each opens the bus when it is forked.

    cd examples; gunicorn -c gunicorn_conf.py flask_app:app

With `--preload` or without, what a worker's fork copied is not open yet.
"""

from __future__ import annotations

import stdevents

bind = "127.0.0.1:8000"
workers = 4


def post_fork(server, worker):
    stdevents.configure("my-app")
