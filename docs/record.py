"""Run the demo on a terminal of its own, and draw what it shows, as fast as it shows it.

    python docs/record.py      # writes docs/demo.svg

An SVG that moves by CSS alone: it needs no script, and shows the end where nothing may move.
"""

from __future__ import annotations

import os
import pty
import re
import struct
import sys
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "demo.svg"
COLUMNS, ROWS = 84, 24
WIDTH, HEIGHT, MARGIN = 8.4, 18, 14  # of a character, of a line, around all: pixels
REST = 3.0  # seconds for which the end is shown: before it all begins, and after it
# By the number in an escape sequence: what it does to a text.
STYLES = {
    "1": 'font-weight="bold"',
    "2": 'fill="#8b949e"',
    "31": 'fill="#ff7b72"',
    "32": 'fill="#7ee787"',
    "33": 'fill="#e3b341"',
    "34": 'fill="#79c0ff"',
    "35": 'fill="#d2a8ff"',
    "36": 'fill="#56d4dd"',
}
FRAME = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" \
width="{width}" height="{height}" role="img" aria-label="python -m stdevents demo, recorded">
<style>
#lines {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
fill: #e6edf3; animation: scroll {seconds:.2f}s step-end infinite; \
transform: translateY({end}px); }}
@keyframes scroll {{
{steps}
}}
@media (prefers-reduced-motion: reduce) {{ #lines {{ animation: none; }} }}
</style>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
<svg x="{margin}" y="{margin}" width="{inner_width}" height="{inner_height}">
<g id="lines">
{lines}
</g>
</svg>
</svg>
"""


def record():
    """The lines that it wrote, each with the seconds after which it was there."""
    command = [sys.executable, "-m", "stdevents", "demo"]
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.environ.update(TERM="xterm-256color", PYTHONUNBUFFERED="1")
        os.environ.pop("NO_COLOR", None)
        time.sleep(0.2)  # until the terminal has its size
        os.execv(command[0], command)
    ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", 100, COLUMNS, 0, 0))
    began, lines, rest = time.monotonic(), [(0.0, "$ python -m stdevents demo")], ""
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # Linux says so that the other end is closed
            read = b""
        if not read:
            break
        *whole, rest = (rest + read.decode()).split("\n")
        lines += [(time.monotonic() - began, line.rstrip("\r")) for line in whole]
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        sys.exit(f"the demo ended with status {status}; no picture is drawn")
    return lines


def draw_line(number, line):
    """One line as SVG: each piece at its column, whatever the font."""
    column, style, drawn = 0, "", []
    for piece in re.split(r"(\x1b\[[\d;]*m)", line):
        if piece.startswith("\x1b"):
            words = [STYLES[code] for code in piece[2:-1].split(";") if code in STYLES]
            style = " ".join(words)
            continue
        for words in re.finditer(r"\S+(?: \S+)*", piece):
            text = words[0]
            x, length = (column + words.start()) * WIDTH, len(text) * WIDTH
            place = f'x="{x:.1f}" y="{HEIGHT * (number + 0.75):.1f}" textLength="{length:.1f}"'
            drawn.append(f"<text {place} {style}".rstrip() + f">{escape(text)}</text>")
        column += len(piece)
    return "\n".join(drawn)


def draw(lines):
    """The picture: the end, for those who see only that; then one line after the other."""
    lines = [(REST + at, line) for at, line in lines]
    seconds = lines[-1][0] + REST
    steps, shown = [f"0% {{ transform: translateY({{{len(lines)}}}px); }}"], REST
    for count, (at, _) in enumerate(lines, start=1):
        following = lines[count][0] if count < len(lines) else seconds
        if following - at < 0.005:  # they come together
            continue
        steps.append(f"{100 * shown / seconds:.2f}% {{ transform: translateY({{{count}}}px); }}")
        shown = following
    steps = "\n".join(steps)
    steps = re.sub(r"\{(\d+)\}px", lambda found: f"{(ROWS - int(found[1])) * HEIGHT}px", steps)
    inner_width, inner_height = round(COLUMNS * WIDTH), ROWS * HEIGHT
    return FRAME.format(
        width=inner_width + 2 * MARGIN,
        height=inner_height + 2 * MARGIN,
        inner_width=inner_width,
        inner_height=inner_height,
        margin=MARGIN,
        seconds=seconds,
        end=(ROWS - len(lines)) * HEIGHT,
        steps=steps,
        lines="\n".join(filter(None, (draw_line(n, line) for n, (_, line) in enumerate(lines)))),
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(record()), encoding="utf-8")
    print(f"{PICTURE} is written")
