"""`post`: an event from outside, by a process that is no worker of the bus."""

from __future__ import annotations

from . import outside
from .terminal import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

HELP = "post an event to all workers of a bus, and print its id"
MORE = "The bus has to be there already: some worker has it open."
EXAMPLE = "post my-app cache drop '{\"key\": 7}'"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="the bus, as its workers call it")
    add("source", metavar="SOURCE", help="where the event is from")
    add("event", metavar="EVENT", help="what happened")
    about = "what comes with it (default: null); - reads it from standard input"
    add("data", metavar="JSON", nargs="?", default="null", help=about)
    add("--unique", metavar="KEY", help="have only one worker handle it")


def main(name: str, source: str, event: str, data: str, unique: str | None) -> int:
    say(str(outside.post(name, source, event, outside.data_of(data), unique)))
    return 0
