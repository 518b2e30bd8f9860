"""A post with 64 workers attached, and with 8 posters that contend for the lock."""

from __future__ import annotations

from statistics import median
from time import perf_counter

from common import Figure, children, data_of, main, name

import stdevents
from stdevents._cli.bench import seconds

WORKERS = 64
POSTERS = 8
ROUNDS = {"tiny": 2, "quick": 40, "full": 200}
CONTESTS = {"tiny": 2, "quick": 7, "full": 25}
POSTS = {"tiny": 50, "quick": 16_000, "full": 40_000}  # of all posters together
DATA = data_of(60)


def attend(line, bus, number):
    """Be a worker that does nothing."""
    line.tell(bus.configured() and bus.stats().lag)
    line.hear()


def post_all(line, bus, number):
    """Post as often as one is told, and tell when it began and ended."""
    line.tell(bus.stats().posted)
    while True:
        count = line.hear()
        if count is None:
            return
        start = perf_counter()
        for _ in range(count):
            bus.post("cache", "drop", DATA)
        line.tell((start, perf_counter()))


def measure(size):
    """A figure for each."""
    bus = stdevents.Bus(name(), size="4m", interval=0, wait_max=60)
    try:
        yield attached(bus, size)
        yield contending(bus, size)
    finally:
        bus.close()


def attached(bus, size):
    """One poster, and many workers or none beside it, in turns."""

    def post():
        bus.post("cache", "drop", DATA)

    alone, crowded = [], []
    for _ in range(4):
        alone += [seconds(post) for _ in range(ROUNDS[size] // 2)]
        with children(WORKERS - 1, attend, bus):
            crowded += [seconds(post) for _ in range(ROUNDS[size] // 2)]
    what, against = f"post, with {WORKERS} workers attached", "with 1"
    return Figure(
        what, against, min(crowded) / min(alone), median(crowded) / median(alone), goal=1.05,
        ours=f"{min(crowded) * 1e6:.2f} µs", theirs=f"{min(alone) * 1e6:.2f} µs",
    )  # fmt: skip


def contending(bus, size):
    """As many posts by one process, and by several at once."""
    alone, together = [], []
    with children(1, post_all, bus) as one, children(POSTERS, post_all, bus) as several:
        for _ in range(CONTESTS[size]):
            alone.append(rate(one, POSTS[size]))
            together.append(rate(several, POSTS[size]))
    return Figure(
        f"posts a second, of {POSTERS} posters that contend",
        "of 1 poster",
        max(together) / max(alone),
        median(together) / median(alone),
        goal=0.8,
        at_least=True,
        ours=f"{max(together):,.0f}",
        theirs=f"{max(alone):,.0f}",
    )


def rate(posters, posts):
    """Posts a second of all of them together."""
    for poster in posters:
        poster.say(posts // len(posters))
    starts, ends = zip(*(poster.hear() for poster in posters))
    return posts / (max(ends) - min(starts))


if __name__ == "__main__":
    main(measure, __doc__)
