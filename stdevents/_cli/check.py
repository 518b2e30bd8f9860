"""`check`: walks every slot of a bus, and says what is wrong.

It looks at a copy that was taken under the lock. So no post is half done in it, except one whose
poster was killed, which is no fault: the rules of `_table` say what such a post leaves.
"""

from __future__ import annotations

from .._errors import SegmentError
from .faults import faults_of
from .outside import find
from .processes import command_of
from .terminal import harmless, say, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

HELP = "walk every slot of a bus, and say what is wrong"
MORE = """\
Copies the bus under its lock: posts wait that long. A line for each fault, and
exit status 1 if there is one."""
EXAMPLE = "check my-app"

SHOWN = 50  # faults
NAMED = 8  # workers


def check(name: str) -> list[str]:
    """What is wrong with the bus, a line a fault; nothing if it is sound.

    LookupError if no live worker has it open; LockTimeout.
    """
    return examine(name)[1]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the bus, as its workers call it")


def main(name: str) -> int:
    what, faults = examine(name)
    say(*faults[:SHOWN])
    if len(faults) > SHOWN:
        say(f"... and {len(faults) - SHOWN} faults more")
    if what:
        count = f"{len(faults)} fault{'s' * (len(faults) != 1)}" if faults else "no fault"
        say(f"{what}: {count}")
    return int(bool(faults))


def examine(name: str) -> tuple[str, list[str]]:
    """What was looked at, if the bus could be opened at all; and what is wrong."""
    try:
        bus = find(name)
    except SegmentError as error:  # not even its header is sound
        return "", [words_of(error)]
    try:
        copy, workers = bus.exclusively(lambda: (bus.copy(), bus.workers()))
    finally:
        bus.close()
    layout = copy.layout
    slots = layout.workers + layout.claims + layout.events
    pids = [worker.pid for worker in workers]
    return f"bus {name}, {_named(pids)}, {slots:,} slots", faults_of(copy)


def _named(pids: list[int]) -> str:
    """The workers of these pids, each with the name of its program."""
    named = [harmless(f"{pid} {command_of(pid)}".rstrip()) for pid in pids[:NAMED]]
    more = [f"and {len(pids) - NAMED} more"] if len(pids) > NAMED else []
    count = f"{len(pids)} worker{'s' * (len(pids) != 1)}"
    return f"{count} ({', '.join([*named, *more])})" if pids else count
