"""Errors that are a user's to mend: one line each, naming the thing, its value and the remedy.

Each is also a `ValueError`, so that callers who know nothing of this package can still catch it.
The command line prints the message alone and exits with code 2.
"""


class MMUnlearnerError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(MMUnlearnerError, ValueError):
    """An option or a recipe is wrong."""


class ChangedError(ConfigError):
    """Data, models or the package have changed since the run began."""


class DataError(MMUnlearnerError, ValueError):
    """A data set is missing, unreadable or not in the layout that it should have."""


class ModelError(MMUnlearnerError, ValueError):
    """A model cannot be loaded, or is not what the step needs."""


class MaskError(MMUnlearnerError, ValueError):
    """A mask does not fit the model, or would act on nothing."""


class TrainingError(MMUnlearnerError, ValueError):
    """Training cannot go on: a loss that is not finite, a checkpoint of another run."""


class DiskError(MMUnlearnerError, OSError):
    """A file cannot be written: the disk is full."""


class ToolError(MMUnlearnerError, ValueError):
    """Another program that was asked to help has failed."""


class JudgeError(MMUnlearnerError, ValueError):
    """The judge of answers refuses or does not answer."""


def reason(error: Exception, limit: int = 300) -> str:
    """The first line of what another library says of a failure, cut at a number of characters, or else its kind."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def on_one_line(message: str, limit: int = 1500) -> str:
    """Return a message as a terminal can show it: without line breaks and control characters, cut in its middle."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(message.split()))
    # Names and values in it are the user's, of any length; the remedy is at its end.
    return line if len(line) <= limit else f"{line[: limit - 505]} ... {line[-500:]}"
