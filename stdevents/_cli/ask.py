"""`ask`: what each worker of a bus answers; a table on a terminal, JSON lines in a pipe."""

from __future__ import annotations

import json
import sys

from . import outside
from .terminal import Terminal, harmless, json_of, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

    from .._types import Answer

HELP = "ask all workers of a bus, and print their answers"
MORE = """\
Each worker answers that has an answerer for it (stdevents.answer). In a pipe:
a JSON object a line. The exit status is 1 if one of them did not answer, or
failed."""
EXAMPLE = "ask my-app cache size"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="the bus, as its workers call it")
    add("source", metavar="SOURCE", help="where the question is from")
    add("event", metavar="EVENT", help="what is asked")
    about = "what comes with it (default: null); - reads it from standard input"
    add("data", metavar="JSON", nargs="?", default="null", help=about)
    about = "how long answers are waited for (default: 1)"
    add("--timeout", metavar="SECONDS", type=float, default=1.0, help=about)


def main(name: str, source: str, event: str, data: str, timeout: float) -> int:
    """Print the answers; 1 if there is no answer of one of them."""
    answers = outside.ask(name, source, event, outside.data_of(data), timeout)
    terminal = Terminal(sys.stdout)
    if terminal.is_live:
        say(terminal.paint(f"{'slot':>5}{'pid':>10}  answer", "dim"))
        say(*(_row(terminal, slot, answer) for slot, answer in answers.items()))
    else:
        say(*(json.dumps({"slot": slot, **one._asdict()}) for slot, one in answers.items()))
    return int(any(answer.error is not None for answer in answers.values()))


def _row(terminal: Terminal, slot: int, answer: Answer) -> str:
    if answer.error is None:
        what = json_of(answer.value)
    else:
        what = terminal.paint(harmless(answer.error), "red")
    return f"{slot:>5}{answer.pid:>10}  {what}"
