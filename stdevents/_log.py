"""The package's logger, where there is logging; what goes wrong is seen without it, too.

Importing logging takes as much memory as all of this package, and longer. Where nobody has
imported it, warnings and errors are written to standard error, as it would do by itself.
"""

from __future__ import annotations

import sys

from ._names import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40  # as in logging

_known: Any = None  # the logger


def report(
    message: str, *arguments: object, level: int = ERROR, failure: BaseException | None = None
) -> None:
    """Log one line; with `failure`, its traceback follows.

    Handlers and filters of the logging are foreign code. What they raise must not change what is
    done next: a `lost` that is told, a handler that is called.
    """
    try:
        # A line that somebody keeps must not keep an error's frames, and with them a bus's memory.
        arguments = tuple([str(one) if isinstance(one, Exception) else one for one in arguments])
        logger = _logger()
        if logger is not None:
            logger.log(level, message, *arguments, exc_info=failure)
        elif level >= WARNING:
            tell(message % arguments)
            if failure is not None and sys.stderr is not None:  # PyPy's would do as print does
                sys.__excepthook__(type(failure), failure, failure.__traceback__)
    except Exception:
        pass


def tell(line: str) -> None:
    """Write a line to standard error; where that is closed, `print` would take standard output."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def debugging() -> bool:
    """Does anybody want lines of level DEBUG?"""
    try:
        logger = _logger()
        return logger is not None and bool(logger.isEnabledFor(DEBUG))
    except Exception:
        return False


def _logger() -> Any:
    """The logger of the package's name; None where logging is not imported.

    Nor where another thread is importing it just now: to wait for that would never end in a child
    that was forked meanwhile.
    """
    global _known
    logging: Any = sys.modules.get("logging")
    if not hasattr(logging, "NullHandler"):  # the last thing but one that the module defines
        return None
    # Asked for once: that takes locks. A module that was reloaded has a manager of its own.
    if _known is None or _known.manager is not logging.Logger.manager:
        _known = logging.getLogger(PACKAGE)
    return _known
