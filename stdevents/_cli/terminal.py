"""What is shown on a terminal: colours where it has them, bars, nothing that steers it."""

from __future__ import annotations

import json
import os
import sys
from shutil import get_terminal_size
from typing import TextIO

from .._errors import SegmentError
from .._log import tell
from .._names import PACKAGE

COLOURS = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
}
EIGHTHS = " ▏▎▍▌▋▊▉█"

#: how the command line was called: by the script that pip installs, or as a module
PROGRAM = "stdevents" if os.path.basename(sys.argv[0]) == "stdevents" else f"python -m {PACKAGE}"


def say(*lines: str) -> None:
    """Print the lines. Where nobody reads them the command goes on: its exit status counts."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()


def nobody_reads() -> None:
    """Write into nothing from now on: the flush at the exit would complain once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Terminal:
    """Where the commands write; a file or a pipe gets the same words without the colours."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_live = stream.isatty()
        self._can_draw = self.is_live and os.environ.get("TERM") != "dumb"
        self._has_colours = self._can_draw and not os.environ.get("NO_COLOR")
        self._has_blocks = _can_show(stream, EIGHTHS)
        self._drawn = False

    def paint(self, text: str, colour: str) -> str:
        if not self._has_colours or not colour:
            return text
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        print(text, file=self._stream, flush=True)

    def height(self) -> int:
        """How many lines `draw` has room for."""
        if not self._can_draw:
            return sys.maxsize
        return (get_terminal_size().lines or 24) - 1  # 0 where it does not know its size

    def width(self) -> int:
        """How many columns a line has; 80 where it is no terminal."""
        return (get_terminal_size().columns or 80) if self._can_draw else 80

    def draw(self, lines: list[str]) -> None:
        """Write these lines over those of the last time; in a file or a pipe, below them."""
        if not self._can_draw:
            print(*lines, "", sep="\n", file=self._stream, flush=True)
            return
        begin = "\x1b[H" if self._drawn else "\x1b[H\x1b[2J"
        rows = "".join(f"{line}\x1b[K\n" for line in lines[: self.height()])
        # Lines are cut off, not wrapped: more rows than lines would scroll the first ones away.
        self._stream.write(f"{begin}\x1b[?7l{rows}\x1b[?7h\x1b[J")
        self._stream.flush()
        self._drawn = True

    def bar(self, share: float, width: int) -> str:
        """A bar that `share`, from 0 to 1, fills; what is more than nothing can be seen."""
        share = min(max(share, 0.0), 1.0)
        if not self._has_blocks:
            full = int(share * width) or (share > 0)
            return "#" * full + "." * (width - full)
        eighths = int(share * width * 8) or (share > 0)
        full, rest = divmod(eighths, 8)
        return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)


def harmless(text: str) -> str:
    """`text` with nothing in it that steers a terminal, or turns the direction of writing."""
    return "".join(one if one.isprintable() else "?" for one in text)


def json_of(data: object) -> str:
    """`data` as JSON to be read by a person: escaped is only what steers a terminal."""
    text = json.dumps(data, ensure_ascii=False)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def complain(message: object) -> None:
    """Tell of an error, or of something that the output proper has no place for."""
    tell(f"stdevents: {words_of(message)}")


def words_of(message: object) -> str:
    """An error in words: those of ours tell all, without the number of the system's error."""
    ours = isinstance(message, SegmentError) and message.strerror
    return ours or str(message)


def _can_show(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
