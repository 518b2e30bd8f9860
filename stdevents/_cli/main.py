"""Which command it is: the parser, and the errors and exit statuses that all commands share."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from io import TextIOWrapper

from .. import __version__
from .._errors import StdeventsError
from .._names import PACKAGE
from .outside import NoSuchBus
from .terminal import PROGRAM, complain, nobody_reads, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

HERE = f"{PACKAGE}._cli"
COMMANDS = ("demo", "status", "tail", "post", "ask", "check", "clean", "relay", "bench")

DESCRIPTION = "Events between the worker processes of one host: look at a bus from outside."
EPILOG = f"""\
see what it does:
  {PROGRAM} demo

follow a bus on one terminal, and post to it on another:
  {PROGRAM} tail my-app
  {PROGRAM} post my-app cache drop '{{"key": 7}}'

exit status: 0 all is well, 1 something is wrong with a bus,
2 no live worker has the bus open, or the command line is wrong"""


class Parser(argparse.ArgumentParser):
    """A parser that shows examples as they are written, and errors as all others are shown."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        complain(f"{message}; see {self.prog} --help")
        sys.exit(2)


def parser(names: tuple[str, ...]) -> Parser:
    """The parser of these commands, whose modules it imports."""
    top = Parser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"stdevents {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name in names:
        module = _module(name)
        words: str = module.HELP
        command = commands.add_parser(
            name,
            help=words,
            description=f"{words[0].upper()}{words[1:]}.\n{module.MORE}",
            epilog=f"example:\n  {PROGRAM} {module.EXAMPLE}",
        )
        module.add_arguments(command)
    return top


def main() -> int:
    _prepare_streams()
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    top = parser((asked,) if asked in COMMANDS else COMMANDS)
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
    return _run(command, options)


def _prepare_streams() -> None:
    """Output never ends a command: a closed stream swallows it, and any encoding can show it."""
    for name, mode in ("stdin", "r"), ("stdout", "w"), ("stderr", "w"):
        if getattr(sys, name) is None:
            # As after `>&-`. Never closed, as Python's own are not: it would warn of this one.
            number = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _run(command: str, options: dict[str, Any]) -> int:
    try:
        status: int = _module(command).main(**options)
        say()  # what is not written yet
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # what goes on for ever ends when nobody reads it any more
        nobody_reads()
        return 0
    except (StdeventsError, ValueError, OSError) as error:
        complain(error)
        return 2 if isinstance(error, (NoSuchBus, ValueError)) else 1


def _module(command: str) -> Any:
    return import_module(f"{HERE}.{command}")
