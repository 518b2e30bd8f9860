"""`demo`: four worker processes that keep rows of a SQLite file in their caches."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

HELP = "show, live, what a bus does for four worker processes"
MORE = """\
They keep rows of a SQLite file in their caches. Takes some seconds;
exit status 1 if anything that is promised did not hold."""
EXAMPLE = "demo"


def add_arguments(parser: ArgumentParser) -> None:
    """None."""


def main() -> int:
    from .play import main  # SQLite and multiprocessing, which no other command needs

    return main()
