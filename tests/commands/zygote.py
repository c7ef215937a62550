"""Runs the `hotpotato` command, each time in a process of its own, that need not import everything.

    python zygote.py

imports what commands need, all but a reactor, and forks for each line of standard input: a JSON
object with `arguments`, `environment`, and the files for `out` and `err`. It answers with a line,
the exit status. It ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

import psycopg2  # noqa: F401
import treq  # noqa: F401
import txpostgres  # noqa: F401
from rich import console, table  # noqa: F401

from hotpotato import commands
from hotpotato.senders import registry  # noqa: F401


def run(order: dict[str, Any]) -> NoReturn:
    """Be the command that was ordered."""
    for number, target, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, order["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(target, flags), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["hotpotato", *order["arguments"]]
    status: Any = 1
    try:
        commands.main()
    except SystemExit as ending:
        status = ending.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    assert "twisted.internet.reactor" not in sys.modules
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
