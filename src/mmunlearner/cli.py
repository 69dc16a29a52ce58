"""The commands. Each reads its options and calls one room, imported only then: `--help` loads no torch."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.argument import ArgumentCollection
from cyclopts.utils import UNSET

from mmunlearner import __version__
from mmunlearner.config import RunConfig
from mmunlearner.config_io import load_config
from mmunlearner.errors import MMUnlearnerError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

app = App(
    name="mmunlearner",
    help="Erase what a vision-language model knows of an entity's looks; keep what it knows in words; show both.",
    version=__version__,
    default_parameter=Parameter(name_transform=lambda name: name, negative_iterable=(), negative_none=()),
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)


class _Flags:
    """The options of `run` as they were typed.

    Those of the recipe stand beneath them, and both are converted by `config_io`: cyclopts shows and finds the
    options, and is left nothing to fill in.
    """

    def __init__(self) -> None:
        self.given: dict[str, str | list[str]] = {}

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        self.given = {}
        for argument in arguments:
            if argument.name.startswith("--"):
                self._take(argument.name.removeprefix("--"), argument.tokens)
                argument.tokens.clear()

    def _take(self, option: str, tokens: list[Any]) -> None:
        values: dict[str, list[str]] = {}
        for token in tokens:
            value = token.value if token.implicit_value is UNSET else str(token.implicit_value)
            values.setdefault(".".join((option, *token.keys)), []).append(value)
        self.given |= {name: texts[0] if len(texts) == 1 else texts for name, texts in values.items()}


_flags = _Flags()
Options = Annotated[RunConfig, Parameter(name="*")]


@app.command(config=_flags)
def run(recipe: str, /, *, options: Options = RunConfig()) -> None:  # noqa: B008 (frozen)
    """Run a whole recipe: data, models, masks, unlearning, evaluation, report.

    What is complete in OUT/NAME is skipped: the same command resumes an interrupted run.

    Args:
        recipe: A YAML file, or the name of a shipped recipe. Options given here win over the recipe's;
            a method of the recipe is reached as `--methods.NAME.train.learning_rate 1e-4`.
    """
    from mmunlearner import pipeline

    pipeline.run(load_config(recipe, _flags.given))


def main(arguments: list[str] | None = None) -> None:
    """Entry point: exit code 0, or 2 with one line on what is wrong, or 130 where the user stopped it."""
    sys.exit(_guarded(sys.argv[1:] if arguments is None else arguments))


def _guarded(arguments: list[str]) -> int:
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        return result if isinstance(result, int) else 0
    except CycloptsError as error:
        error.verbose = False
        return _fail(str(error))
    except MMUnlearnerError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("\ninterrupted; the same command resumes", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit complains
        return 141
    except Exception as error:
        if not _disk_is_full(error):
            raise
        return _fail(f"the disk is full ({error}); free some space, the same command resumes")


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is a full disk: safetensors and torch wrap the system's error."""
    if error is None:
        return False
    full = isinstance(error, OSError) and error.errno in FULL_DISK
    return full or os.strerror(errno.ENOSPC) in str(error) or _disk_is_full(error.__cause__ or error.__context__)


if __name__ == "__main__":
    main()
