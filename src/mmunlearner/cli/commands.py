"""All commands, and the entry point. A command imports its package when it is called: `--help` loads no torch."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from types import FrameType

from mmunlearner.cli import around, runs, single
from mmunlearner.cli.begin import init
from mmunlearner.cli.mistakes import explain
from mmunlearner.cli.options import FLAGS, app
from mmunlearner.cli.people import people
from mmunlearner.errors import on_one_line

__all__ = ["app", "main"]

# In the order of the help.
for command in (runs.demo, runs.run, runs.sweep):
    app.command(command, config=FLAGS)
for command in (single.finetune, single.mask, single.unlearn, single.evaluate, single.ask, runs.compare, runs.report):
    app.command(command)
app.command(around.list_all, name="list")
for command in (around.doctor, init, around.completion, around.schema):
    app.command(command)
app.command(people)


def main(arguments: list[str] | None = None) -> None:
    """Entry point: exit code 0, or 2 with one line on what is wrong, or 130 where it was stopped."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if threading.current_thread() is threading.main_thread():  # no other may say so
        signal.signal(signal.SIGTERM, _stop)  # of `kill` and of schedulers: it stops a command as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter shows a question mark: a name in a table is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # The user's own `module:NAME` beside the recipe: `python -m` finds it there, the console script would not. At the
    # end, so that no file of the folder takes the place of an installed module; not where Python runs in safe mode.
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command resumes", file=sys.stderr)
        sys.exit(130)  # as shells report SIGINT
    except BrokenPipeError:  # the reader of the output has gone, as in `mmunlearner list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit complains
        sys.exit(141)  # as shells report SIGPIPE
    except Exception as error:
        message = explain(error)
        if message is None:  # a defect: its traceback is of use
            raise
        print(f"error: {on_one_line(message)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(result if isinstance(result, int) else 0)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
