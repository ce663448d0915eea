"""The command line: thin subcommands; our own errors print one line and exit with 2.

So do those of the operating system that tell of this machine and not of our code; whatever else is raised is a bug, and
keeps its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from robustnoise.cli.signals import Stop

INTERRUPTED = 130
BUGS = (None, errno.EBADF, errno.EINVAL)
"""What an error of the operating system that names no file has for a number where our code is to blame."""


def main() -> None:
    """Entry point of the ``robustnoise`` command."""
    # Idle OpenMP threads would spin and slow down whatever else runs here; must be set before torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    # Without it a GPU's matrix products may add up in another order each time; read at the first of them.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from robustnoise.allocator import keep_memory
    from robustnoise.cli.signals import stoppable

    keep_memory()
    with stoppable() as stop:
        _run(stop)


def _run(stop: Stop) -> NoReturn:
    from robustnoise.cli.app import app
    from robustnoise.errors import RobustnoiseError

    try:
        # Without standalone mode typer hands the exit code back, 130 for Ctrl-C.
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except RobustnoiseError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{stop.line}", file=sys.stderr)
        sys.exit(stop.code)
    except OSError as error:  # what no message foresaw: standard output on a full disk, a folder that may not be read
        if error.filename is None and error.errno in BUGS:
            raise
        print(f"{type(error).__name__}: {error}.", file=sys.stderr)
        with contextlib.suppress(OSError):
            sys.stdout.close()  # else what it can't take is tried, and told of, again as the process ends
        sys.exit(2)
    except Exception as error:
        exit_code = getattr(error, "exit_code", None)
        if exit_code is None or not hasattr(error, "format_message"):
            raise
        # A usage error of the command line itself: typer's own wording.
        command = getattr(getattr(error, "ctx", None), "command_path", "robustnoise")
        wrong = error.format_message()
        if wrong:  # empty where a command alone has just shown its help
            end = "" if wrong.endswith((".", "?")) else "."
            print(f"Usage: {wrong}{end} '{command} --help' explains.", file=sys.stderr)
        sys.exit(2)
