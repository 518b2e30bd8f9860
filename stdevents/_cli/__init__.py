"""The command line, a file a command.

A command is a module or a folder here, of the name by which it is called; `main.COMMANDS` lists
them. Each has

    HELP                    what it does, in the list of commands
    MORE                    lines that its own help has besides
    EXAMPLE                 how it is called, without `python -m stdevents`
    add_arguments(parser)   adds what it takes to its parser
    main(...)               is given these by name, and returns the exit status

What a command needs of a bus that it has not open as a worker is in `outside`.
"""

from __future__ import annotations
