"""The same with joblib.

    pip install . joblib
    python examples/joblib_pool.py

Cache and handler are in another module, pool.py, which the workers import: functions of the main
program are sent to them by value, with a new cache each time.
"""

from __future__ import annotations

from joblib import Parallel, delayed
from pool import WORKERS, show

import stdevents


def main():
    stdevents.configure("my-app")
    options = {"initializer": stdevents.configure, "initargs": ("my-app",)}
    for backend in ("loky", "multiprocessing"):
        with Parallel(WORKERS, backend, **options) as parallel:
            show(
                f"joblib, {backend}",
                lambda function, items: parallel(delayed(function)(item) for item in items),  # noqa: B023
            )


if __name__ == "__main__":
    main()
