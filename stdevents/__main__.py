"""`python -m stdevents`, or wherever the package was put: a door to the command line, `_cli`."""

from __future__ import annotations

import os
import sys

from ._log import tell
from ._names import PACKAGE


def main() -> int:
    try:
        from ._cli.main import main
    except ModuleNotFoundError as error:
        if error.name not in (f"{PACKAGE}._cli", f"{PACKAGE}._cli.main"):
            raise
        folder = os.path.dirname(__file__)
        missing = f"there is no command line in this copy: _cli is missing from {folder}"
        tell(f"stdevents: {missing}")
        return 2
    return main()


if __name__ == "__main__":
    sys.exit(main())
