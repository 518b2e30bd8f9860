"""How `status` shows a bus on a screen: what it keeps, who is behind, who loses events."""

from __future__ import annotations

import time

from .terminal import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .looking import Row, Status
    from .terminal import Terminal

WIDTH, SINCE = 80, 12  # columns of a line about a worker, and of these those of its last word
# Columns of the bar and of the command in there: as they are in 80, as short as they get, as long.
BAR, COMMAND = (10, 6, 40), (13, 9, 40)


def head(terminal: Terminal, state: Status, rate: float | None) -> list[str]:
    """The lines above the workers."""
    title = terminal.paint(f"bus {state.name}", "bold")
    if state.overflow == "wait":
        title += "  posts wait for the slowest worker"
    bar, command = _widths(terminal, state.workers)
    columns = (
        f"{'pid':>7}  {'command':<{command}}  {'behind':<{bar + 5}}"
        f"{'lag':>10}{'lost':>8}{'unhandled':>11}{'since':>12}"
    )
    posted = f"{state.last_id:,} so far" + ("" if rate is None else f", {rate:,.1f} a second")
    return [
        title,
        "",
        f"  events   {posted}",
        f"  keeps    {_kept(state)}",
        f"  workers  {_count(state)}{_losing(terminal, state)}",
        f"  lost     {_lost(terminal, state)}",
        *_relay(terminal, state),
        "",
        terminal.paint(columns, "dim"),
    ]


def foot(terminal: Terminal, every: float) -> list[str]:
    """The lines below all."""
    words = f"{time.strftime('%H:%M:%S')}, every {every:g} s; Ctrl-C ends"
    return ["", terminal.paint(words, "dim")]


def lines_of(terminal: Terminal, state: Status, room: int) -> list[str]:
    """A line for each worker; where there is no room for all, for those that lose most."""
    shown, more = state.workers, []
    if len(shown) > room:
        worst = sorted(shown, key=lambda row: (row.losing, row.behind), reverse=True)
        worst = worst[: max(0, room - 1)]
        shown = [row for row in shown if row in worst]
        losing = state.losing - sum(row.losing > 0 for row in shown)
        what = f"{losing} of them losing events" if losing else "none of them losing events"
        more = [f"  and {len(state.workers) - len(shown)} more, {what}"]
    widths = _widths(terminal, state.workers)
    return [line_of(terminal, row, *widths) for row in shown] + more


def line_of(terminal: Terminal, row: Row, bar: int = BAR[0], command: int = COMMAND[0]) -> str:
    """What matters most comes first: a narrow terminal cuts off the rest."""
    colour = "red" if row.behind >= 0.8 else "yellow" if row.behind >= 0.4 else "green"
    what = "losing" if row.losing else terminal.bar(row.behind, bar)
    behind = terminal.paint(f"{row.behind:4.0%} {what:{bar}}", colour)
    name = harmless(row.command)[:command]
    counts = f"{row.lag:>9,} {row.lost:>7,}"
    if row.losing:
        counts = terminal.paint(counts, "red")
    unhandled = terminal.paint(f"{row.unhandled:>10,}", "yellow" if row.unhandled else "")
    within_a_day = time.time() - row.since < 86400
    joined = time.strftime("%H:%M:%S" if within_a_day else "%Y-%m-%d", time.localtime(row.since))
    return f"{row.pid:>7}  {name:<{command}}  {behind} {counts} {unhandled}  {joined:>10}"


def summary_of(state: Status) -> str:
    """A bus in a few words."""
    count = len(state.workers)
    losing = f", {state.losing} losing events" if state.losing else ""
    return f"{count} worker{'s' * (count != 1)}{losing}"


def _relay(terminal: Terminal, state: Status) -> list[str]:
    relay = state.relay
    if relay is None:
        return []
    if relay.away_since:
        since = time.strftime("%H:%M:%S", time.localtime(relay.away_since))
        how = terminal.paint(f"not read since {since}: Redis is away, or refuses", "red")
    else:
        is_known = relay.reader and relay.lag is not None
        behind = f", {relay.lag:,} behind" if is_known else ""
        where = f"at {relay.position}{behind}" if relay.position else "not begun"
        how = f"{where}, read by {relay.reader or 'nobody'}"
    return [f"  relay    {harmless(relay.stream or 'its stream')} {how}"]


def _count(state: Status) -> str:
    number = state.listeners
    listen = f", of which {number} only listen{'s' * (number == 1)}" if number else ""
    return f"{len(state.workers)}{listen}"


def _losing(terminal: Terminal, state: Status) -> str:
    return terminal.paint(f", {state.losing} losing events", "red") if state.losing else ""


def _lost(terminal: Terminal, state: Status) -> str:
    """By the live workers; what was overwritten before they came to it they do not know yet."""
    to_come = sum(row.losing for row in state.workers)
    words = f"{state.lost:,} so far" if state.lost or to_come else "none"
    return words + (terminal.paint(f", up to {to_come:,} to come", "red") if to_come else "")


def _kept(state: Status) -> str:
    which = "the last" if state.last_id > state.events else "all"
    return f"{which} {state.events:,}, in {_bytes(state.used)} of {_bytes(state.size)}"


def _widths(terminal: Terminal, rows: list[Row]) -> tuple[int, int]:
    """Of the bar, and of the command."""
    (bar, short_bar, long_bar), (command, short, longest) = BAR, COMMAND
    width = terminal.width()
    less = max(0, WIDTH - SINCE - width)
    if less:
        return max(short_bar, bar - (less + 1) // 2), max(short, command - less // 2)
    more = max(0, width - WIDTH)
    needed = max((len(row.command) for row in rows), default=0)
    command = max(command, min(longest, needed, command + more))
    return min(long_bar, bar + (more - command + COMMAND[0]) // 2), command


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
