"""gunicorn with sync or gthread workers: each opens the bus when it is forked.

    pip install . flask gunicorn
    cd examples; gunicorn -c gunicorn_conf.py flask_app:app

With `--preload` or without: the master never opens the bus, each worker does.
"""

from __future__ import annotations

import logging

import stdevents

bind = "127.0.0.1:8000"
workers = 4


def post_fork(server, worker):
    # gunicorn's log is for its own messages only. Now it gets all others, too: else failed handlers
    # and lost events would be written to standard error, without a time.
    logging.basicConfig(handlers=worker.log.error_log.handlers)
    stdevents.configure("my-app")
