"""The package's logger, where there is logging.

Importing logging takes as much memory as all of this package, and longer. Where nobody has
imported it, nobody has asked for log lines, and there are none.
"""

from __future__ import annotations

import sys

from ._names import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from typing import Any


class _Silence:
    """Stands in for a logger."""

    def isEnabledFor(self, level: int) -> bool:
        return False

    def debug(self, message: str, *arguments: object, exc_info: object = None) -> None:
        pass

    info = warning = error = exception = debug


_silence = _Silence()
_logger: Logger | None = None


def logger() -> Logger | _Silence:
    """The logger of the package's name, as soon as anything has imported logging.

    It does not wait for an import in another thread: in a forked child that would never end.
    """
    global _logger
    if _logger is None:
        logging: Any = sys.modules.get("logging")
        if not hasattr(logging, "NullHandler"):  # not imported, or not completely yet
            return _silence
        found: Logger = logging.getLogger(PACKAGE)
        found.addHandler(logging.NullHandler())
        _logger = found  # with its handler; else another thread would log to standard error
    return _logger


logger()  # where logging is there already, its handler is, too
