"""The command line: `python -m stdevents`, or wherever the package was put."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import NoReturn

from . import __version__
from ._cli.outside import NoSuchBus
from ._cli.terminal import complain
from ._errors import StdeventsError
from ._names import PACKAGE

PROGRAM = f"python -m {PACKAGE}"


# What each does, as the list of them says it; what takes more words; an example. Each is `main` of
# the module of its name, and its arguments are that one's.
COMMANDS = {
    "demo": (
        "show, live, what a bus does for four worker processes",
        "They keep rows of a SQLite file in their caches. Takes some seconds;\n"
        "exit status 1 if anything that is promised did not hold.",
        "demo",
    ),
    "status": (
        "how full a bus is, and which workers are behind",
        "BEHIND is the share of the ring that a worker has to read still; at 100 % it\n"
        "loses some. Without NAME: which buses there are, and how many workers each has.",
        "status my-app --watch",
    ),
    "tail": (
        "the events of a bus as they come; in a pipe, JSON lines",
        'A {"lost": ...} line stands for events that were overwritten before they were\n'
        "read here. Goes on when the bus is created again; ends with Ctrl-C.",
        "tail my-app --source cache",
    ),
    "post": (
        "post an event to all workers of a bus, and print its id",
        "The bus has to be there already: some worker has it open.",
        "post my-app cache drop '{\"key\": 7}'",
    ),
    "check": (
        "walk every slot of a bus, and say what is wrong",
        "Copies the bus under its lock: posts wait that long. A line for each fault, and\n"
        "exit status 1 if there is one.",
        "check my-app",
    ),
    "clean": (
        "remove what killed workers left behind",
        "What a live worker has open is left alone. Says of each bus what became of it.",
        "clean",
    ),
    "bench": (
        "how long the hot paths take, as ratios to the standard library",
        "Each ratio is one within this run; takes some ten seconds.",
        "bench",
    ),
}


class Parser(argparse.ArgumentParser):
    """A parser that shows examples as they are written, and errors as all others are shown."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        sys.exit(2)


def parser() -> Parser:
    top = Parser(
        prog=PROGRAM,
        description="Events between the worker processes of one host: look at a bus from outside.",
        epilog=f"see what it does:\n  {PROGRAM} demo\n\n"
        f"follow a bus on one terminal, and post to it on another:\n"
        f"  {PROGRAM} tail my-app\n"
        f"  {PROGRAM} post my-app cache drop '{{\"key\": 7}}'\n\n"
        "exit status: 0 all is well, 1 something is wrong with a bus,\n"
        "2 no live worker has the bus open, or the command line is wrong",
    )
    top.add_argument("--version", action="version", version=f"stdevents {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, (says, more, example) in COMMANDS.items():
        command: Parser = commands.add_parser(
            name,
            help=says,
            description=f"{says[0].upper()}{says[1:]}.\n{more}",
            epilog=f"example:\n  {PROGRAM} {example}",
        )
        add_arguments(command, name)
    return top


def add_arguments(command: Parser, name: str) -> None:
    add = command.add_argument
    if name == "clean":
        add("name", metavar="NAME", nargs="?", help="the bus (default: all of yours)")
    elif name == "bench":
        add("--rounds", type=int, default=100, help="how often (default: %(default)s)")
        add("--json", dest="as_json", action="store_true", help="the figures as JSON")
    elif name == "status":
        add("name", metavar="NAME", nargs="?", help="the bus (default: list all of yours)")
    elif name != "demo":
        add("name", metavar="NAME", help="the bus, as its workers call it")
    if name == "status":
        add("--watch", action="store_true", help="look every second, until Ctrl-C")
        add("--json", dest="as_json", action="store_true", help="one JSON object a look")
    elif name == "tail":
        add("--source", help="only the events of this source")
        add("--event", help="only the events of this name")
        add("--oldest", action="store_true", help="begin with what is there still")
    elif name == "post":
        add("source", metavar="SOURCE", help="where the event is from")
        add("event", metavar="EVENT", help="what happened")
        about = "what comes with it (default: null); - reads it from standard input"
        add("data", metavar="JSON", nargs="?", default="null", help=about)
        add("--unique", metavar="KEY", help="have only one worker handle it")


def main() -> int:
    top = parser()
    known, unknown = top.parse_known_args()
    options = vars(known)
    command = options.pop("command")
    if unknown:
        its_help = f"{PROGRAM} {command} --help" if command else f"{PROGRAM} --help"
        complain(f"{' '.join(unknown)}: not expected here; see {its_help}")
        return 2
    if command is None:
        top.print_help()
        return 0
    try:
        module = import_module(f"._cli.{command}", __package__)
        status: int = module.main(**options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads it any more; the flush at the exit would complain of that once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (StdeventsError, ValueError, OSError) as error:
        complain(error)
        return 2 if isinstance(error, (NoSuchBus, ValueError)) else 1


if __name__ == "__main__":
    sys.exit(main())
