"""The options of `configure`: their defaults, and what is a good value for each."""

from __future__ import annotations

import re
import threading

from .._errors import StdeventsError
from .._log import WARNING, report
from .._names import text_of
from .._table.header import OVERFLOWS
from .._table.layout import SMALLEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Default:
    """Marks a default value, to distinguish it from an equal one that the caller gave."""


class DefaultText(str, Default):
    """A default that is a str."""


class DefaultCount(int, Default):
    """One that is an int."""


class DefaultSeconds(float, Default):
    """One that is a float."""


SIZE = DefaultText("1m")
TIMEOUT = DefaultSeconds(2.0)
INTERVAL = DefaultSeconds(1.0)
WAIT_INTERVAL = DefaultSeconds(0.010)
WAIT_MAX = DefaultSeconds(0.5)
SHM_RETRIES = DefaultCount(999)
OVERFLOW = DefaultText("drop")
START = DefaultText("new")
ROLE = DefaultText("worker")

LARGEST = 1 << 40
ROLES = ("worker", "listener", "poster")  # as a worker's slot has them: 0, 1
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
SIZE_AS_TEXT = re.compile("([0-9]{1,15})(?:b|([kmg])(?:i?b)?)?")
SIZES = '"512k", "1MB", "64KiB"'
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+-]{0,99}")


def check_name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name: a bus is named by a str, not by {name!r}")
    text = text_of(name)
    if not NAME.fullmatch(text):
        raise ValueError(
            f"name: {name!r} cannot name a bus; take 1 to 100 of the characters "
            "A-Z a-z 0-9 _ . : @ + - and begin with a letter, a digit or _"
        )
    return text


def _size(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{name}: {value!r} is neither a number of bytes nor like {SIZES}")
    if isinstance(value, str):
        match = SIZE_AS_TEXT.fullmatch(text_of(value).strip().lower())
        if not match:
            raise ValueError(f"{name}: {value!r} is not a size; write bytes, or like {SIZES}")
        value = int(match[1]) * UNITS[match[2] or ""]
    if not SMALLEST <= value <= LARGEST:
        raise ValueError(f"{name}: {value} bytes is not within {SMALLEST} to {LARGEST}")
    return int(value)


def duration(name: str, value: Any) -> float:
    """A number of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: {value!r} is not a number of seconds")
    if not 0 <= value <= threading.TIMEOUT_MAX:  # NaN is not, either
        raise ValueError(
            f"{name}: {value!r} seconds is not within 0 to {threading.TIMEOUT_MAX:.0f}"
        )
    return float(value)


def period(name: str, value: Any) -> float:
    """A number of seconds that is more than 0."""
    number = duration(name, value)
    if not number:
        raise ValueError(f"{name}: {value!r} seconds is too short; give more than 0")
    return number


def seconds(name: str, value: Any) -> float | None:
    """A number of seconds that an argument gives, or None."""
    return None if value is None else duration(name, value)


def count(name: str, value: Any, least: int = 0, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: {value!r} is not an int")
    if value < least:
        raise ValueError(f"{name}: {value!r} is too small; give {least} or more")
    if most is not None and value > most:
        raise ValueError(f"{name}: {value!r} is too large; give {most} or less")
    return int(value)


def _one_of(*choices: str) -> Any:
    def check(name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"{name}: {value!r} is not a str; it is one of {choices}")
        if text_of(value) not in choices:
            raise ValueError(f"{name}: {value!r} is not one of {choices}")
        return text_of(value)

    return check


#: each option: its default, and what checks a value of it
OPTIONS = {
    "size": (SIZE, _size),
    "timeout": (TIMEOUT, period),
    "interval": (INTERVAL, duration),
    "wait_interval": (WAIT_INTERVAL, period),
    "wait_max": (WAIT_MAX, period),
    "shm_retries": (SHM_RETRIES, count),
    "overflow": (OVERFLOW, _one_of(*OVERFLOWS)),
    "start": (START, _one_of("new", "oldest")),
    "role": (ROLE, _one_of(*ROLES)),
}
DEFAULTS = {name: default for name, (default, _) in OPTIONS.items()}


class Settings:
    """The checked options of one bus in one process; some change while it is open."""

    size: int
    timeout: float
    interval: float
    wait_interval: float
    wait_max: float
    shm_retries: int
    overflow: str
    start: str
    role: str

    def __init__(self, options: dict[str, Any] = DEFAULTS) -> None:
        vars(self).update(checked(options))
        self._given = set(_given(options))

    def changes(self, options: dict[str, Any], bus: str) -> dict[str, Any]:
        """The settings that were given in `options`, all checked; nothing is changed yet."""
        given = checked(_given(options))
        if given.get("role", self.role) != self.role:
            raise StdeventsError(
                f"role: this process opened bus {bus!r} as a {self.role}, and stays that until it "
                "is closed"
            )
        if given.get("overflow", self.overflow) != self.overflow:
            raise StdeventsError(
                f"overflow: bus {bus!r} already exists with {self.overflow!r}, and keeps "
                "that until every worker has closed it"
            )
        return given

    def change(self, given: dict[str, Any], bus: str, size: int) -> None:
        """Use the settings that were given; `size` is what the bus has."""
        vars(self).update(given)
        if "size" in given:
            self._given = {*self._given, "size"}  # not in place: a change may be taken back
            self.compare_size(bus, size)

    def take_any(self) -> None:
        """Let the next bus that is joined decide of overflow and size, whatever was asked for."""
        self._given -= {"overflow", "size"}

    def forked(self) -> None:
        """A listener's child is a worker: whoever declines events forks those who take them."""
        if self.role == "listener":
            self.role = "worker"

    def agree(self, bus: str, overflow: str) -> None:
        """Use the `overflow` that the bus was created with; StdeventsError if another was given."""
        if "overflow" in self._given and self.overflow != overflow:
            raise StdeventsError(
                f"overflow: bus {bus!r} already exists with {overflow!r}, not {self.overflow!r}; "
                "ask for that, or leave it out"
            )
        self.overflow = overflow

    def compare_size(self, bus: str, size: int) -> None:
        """Warn if another size was asked for than the bus has."""
        if "size" in self._given and self.size != size:
            report(
                "bus %r already exists with size=%d; size=%d is ignored until every worker has "
                "closed it",
                bus, size, self.size,
                level=WARNING,
            )  # fmt: skip


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if not isinstance(value, Default)}


def checked(options: dict[str, Any]) -> dict[str, Any]:
    """The options, each in its own type; TypeError or ValueError that names the bad one."""
    return {name: OPTIONS[name][1](name, value) for name, value in options.items()}
