"""`status`: how full a bus is, and which of its workers are behind; or which buses there are."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentTypeError
from contextlib import closing

from .._bus.settings import check_name
from .._errors import LockTimeout, StdeventsError
from .buses import names
from .looking import look
from .metrics import text_of
from .outside import EXISTS, OpenBus, current, find, find_or_none, of_others
from .screen import foot, head, lines_of, summary_of
from .terminal import PROGRAM, Terminal, harmless, say, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Iterator

    from .looking import Status

HELP = "how full a bus is, and which workers are behind"
MORE = f"""\
Without NAME: which buses there are, and how many workers each has. "behind" is
the share of the ring that a worker has yet to read; at 100 % it loses events.
"lost" are those that it has lost so far; "unhandled" those that it had no
handler for: is a name misspelt? --watch waits for a bus that is not there yet.
A textfile collector of Prometheus takes:

  {PROGRAM} status --metrics > my-textfiles/stdevents.prom"""
EXAMPLE = "status my-app --watch"

EVERY = 1.0  # seconds from one look to the next
DAY = 86400.0  # seconds
DEAD = "no live worker; left behind by killed ones"
NOT_YET = f"not there yet: {EXISTS}; waiting for one"
GONE = "no live worker has it open any more; waiting for one"
LOCKED = "its lock is held, most likely by a worker that was stopped; trying again"
NONE = "no bus of this user"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="the bus (default: list all of yours)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="as_json", action="store_true", help="one JSON object a look")
    form.add_argument("--metrics", action="store_true", help="OpenMetrics text, once")
    add("--watch", action="store_true", help="look every second, until Ctrl-C")
    about = "look as often as this, until Ctrl-C"
    add("--every", metavar="SECONDS", type=_period, default=0.0, help=about)


def _period(text: str) -> float:
    try:
        every = float(text)
    except ValueError:
        every = 0.0
    if not 0 < every <= DAY:
        raise ArgumentTypeError(f"{text!r} is not more than 0 seconds, and a day ({DAY:g}) at most")
    return every


def main(name: str | None, watch: bool, every: float, as_json: bool, metrics: bool) -> int:
    """Show a bus, or list those of this user, once; or `every` so many seconds until Ctrl-C."""
    every = every or watch * EVERY
    terminal = Terminal(sys.stdout)
    if metrics:
        if every:
            raise ValueError("--metrics is written once; call it again for newer figures")
        return _write_metrics(name)
    try:
        if name is not None:
            return _follow(terminal, check_name(name), every, as_json)
        return _watch_all(terminal, every, as_json) if every else _list(as_json)
    except KeyboardInterrupt:
        if terminal.is_live:
            terminal.line()  # the shell goes on below
        return 0 if every else 130


# -- all buses -------------------------------------------------------------------------------------


def _states() -> Iterator[tuple[str, Status | None, str]]:
    """Of each bus of this user its name, its state, and why that is not to be had."""
    for name in names():
        try:
            with closing(OpenBus(name)) as bus:
                yield name, look(bus), ""
        except FileNotFoundError:
            yield name, None, DEAD
        except StdeventsError as error:
            yield name, None, words_of(error)


def _list(as_json: bool) -> int:
    states = list(_states())
    say(*_lines_of_all(states, as_json))
    return int(any(why not in ("", DEAD) for _, _, why in states))


def _lines_of_all(states: list[tuple[str, Status | None, str]], as_json: bool) -> list[str]:
    if as_json:
        return [state.as_json() if state else _error(name, why) for name, state, why in states]
    width = max((len(name) for name, _, _ in states), default=0)
    lines = [
        harmless(f"{name:{width}}  {summary_of(state) if state else why}")
        for name, state, why in states
    ]
    return [*(lines or [NONE]), *of_others()]


def _watch_all(terminal: Terminal, every: float, as_json: bool) -> int:
    while True:
        lines = _lines_of_all(list(_states()), as_json)
        if as_json:
            for line in lines:
                terminal.line(line)
        else:
            below = foot(terminal, every)
            room = terminal.height() - len(below)
            if len(lines) > room:
                lines[room - 1 :] = [f"and {len(lines) - room + 1} more"]
            terminal.draw([*lines, *below])
        time.sleep(every)


def _write_metrics(name: str | None) -> int:
    """Of one bus, or of all; a stale one is none."""
    if name is not None:
        with closing(find(name)) as bus:
            states = [(name, look(bus))]
        say(text_of([*states]).rstrip("\n"))
        return 0
    found = list(_states())
    live = [(name, state) for name, state, why in found if why != DEAD]
    say(text_of(live).rstrip("\n"))
    return int(any(state is None for _, state in live))


# -- one bus ---------------------------------------------------------------------------------------


def _follow(terminal: Terminal, name: str, every: float, as_json: bool) -> int:
    bus = find_or_none(name) if every else find(name)
    rate, why = Rate(), NOT_YET
    try:
        while True:
            try:
                if bus is None:
                    _show_none(terminal, name, every, as_json, why)
                else:
                    why, state = GONE, look(bus)
                    _show(terminal, state, rate.of(state), every, as_json)
            except LockTimeout:
                if not every:
                    raise
                _show_none(terminal, name, every, as_json, LOCKED)
            if not every:
                return 0
            time.sleep(every)
            now = current(name, bus)
            if now is not bus and bus is not None:
                bus.close()
            bus = now
    finally:
        if bus is not None:
            bus.close()


class Rate:
    def __init__(self) -> None:
        self._epoch = self._last_id = 0
        self._at = 0.0

    def of(self, state: Status) -> float | None:
        """Since the look before; None at the first one."""
        before, self._last_id = self._last_id, state.last_id
        since, self._at = self._at, time.monotonic()
        same, self._epoch = self._epoch == state.epoch, state.epoch
        return (state.last_id - before) / (self._at - since) if same else None


def _show(
    terminal: Terminal, state: Status, rate: float | None, every: float, as_json: bool
) -> None:
    if as_json:
        terminal.line(state.as_json())
        return
    above = head(terminal, state, rate)
    if not every:
        for line in [*above, *lines_of(terminal, state, len(state.workers))]:
            terminal.line(line)
        return
    below = foot(terminal, every)
    room = terminal.height() - len(above) - len(below)
    terminal.draw([*above, *lines_of(terminal, state, room), *below])


def _show_none(terminal: Terminal, name: str, every: float, as_json: bool, why: str) -> None:
    if as_json:
        terminal.line(_error(name, why))
    else:
        title = terminal.paint(f"bus {name}", "bold")
        terminal.draw([title, "", f"  {terminal.paint(why, 'yellow')}", *foot(terminal, every)])


def _error(name: str, why: str) -> str:
    return json.dumps({"name": name, "error": why, "workers": []})
