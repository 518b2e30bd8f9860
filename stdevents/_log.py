"""The package's logger, where there is logging.

To import logging takes a worker as much memory, and longer, than all of this package. Where
nobody has imported it, nobody has asked to hear what is logged, and nothing is.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger


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
    """The logger of the package's name; from when logging is imported, by whomever."""
    global _logger
    if _logger is None:
        if "logging" not in sys.modules:
            return _silence
        import logging  # which waits, if another thread is just importing it

        _logger = logging.getLogger(__package__)
        _logger.addHandler(logging.NullHandler())
    return _logger


logger()  # has its handler from the beginning
