"""The package's logger, where there is logging.

To import logging takes a worker as much memory, and longer, than all of this package. Where
nobody has imported it, nobody has asked to hear what is logged, and nothing is.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger
    from typing import Any


class _Silence:
    """A logger that nobody hears."""

    def isEnabledFor(self, level: int) -> bool:
        return False

    def debug(self, message: str, *arguments: object, exc_info: object = None) -> None:
        pass

    info = warning = error = exception = debug


_silence = _Silence()
_logger: Logger | None = None


def logger() -> Logger | _Silence:
    """The logger of the package's name, from when logging is imported, by whomever.

    Waits for no import that another thread is in: in a forked child it would never end.
    """
    global _logger
    if _logger is None:
        logging: Any = sys.modules.get("logging")
        if not hasattr(logging, "NullHandler"):  # not yet, or it is just being imported
            return _silence
        # No __package__: in a zip, before Python 3.10, a module gets it when all of it has run.
        found: Logger = logging.getLogger(__name__.rpartition(".")[0])
        found.addHandler(logging.NullHandler())
        _logger = found  # not before: another thread would log to standard error
    return _logger


logger()  # has its handler from the beginning
