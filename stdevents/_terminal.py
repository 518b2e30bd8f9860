"""What is shown on a terminal: colours where it has them, bars, words that fit."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

from ._errors import SegmentError

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
CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "?")


class Terminal:
    """Where the commands write; a file or a pipe gets the same words without the colours."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_live = stream.isatty()
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self._has_colours = self.is_live and not plain
        self._has_blocks = _can_show(stream, EIGHTHS)
        self._drawn = False

    def paint(self, text: str, colour: str) -> str:
        """`text`, in that colour if there are any."""
        if not self._has_colours or not colour:
            return text
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"

    def line(self, text: str = "") -> None:
        """Write one line, and let it be seen at once."""
        print(text, file=self._stream, flush=True)

    def draw(self, lines: list[str]) -> None:
        """Write these lines over those of the last time; in a file or a pipe, below them."""
        if not self.is_live:
            print(*lines, "", sep="\n", file=self._stream, flush=True)
            return
        height = shutil.get_terminal_size().lines or 24  # 0 where it does not know its size
        if len(lines) > height - 1:
            lines = [*lines[: height - 2], f"  … and {len(lines) - height + 2} lines more"]
        begin = "\x1b[H" if self._drawn else "\x1b[H\x1b[2J"
        text = begin + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"
        self._stream.write(text)
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


def fit(text: str, width: int) -> str:
    """`text` in so many columns: shortened, or filled up."""
    text = harmless(text)
    return text.ljust(width) if len(text) <= width else text[: width - 3] + "..."


def harmless(text: str) -> str:
    """`text` with nothing in it that steers a terminal."""
    return text.translate(CONTROLS)


def complain(message: object) -> None:
    """Tell of an error, or of something that the output proper has no place for."""
    print(f"stdevents: {words_of(message)}", file=sys.stderr, flush=True)


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
