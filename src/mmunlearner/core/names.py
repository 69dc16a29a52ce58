"""Names that a user writes: objects as `package.module:name`, and suggestions for those that do not exist."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from mmunlearner.errors import ConfigError, reason

MAX_LISTED = 30  # names in a message: a table may have hundreds of columns


def resolve_name(name: str, what: str) -> Any:
    """Return the object that `package.module:name` names; `what` says in errors what it should be.

    Raises:
        ConfigError: the name has no such form, or cannot be imported.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise ConfigError(f"{what} {name}: not of the form package.module:name")
    # Importing runs the user's own code; its usual errors become a message, all others keep their traceback.
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{what} {name}: cannot be imported ({reason(error)})") from error


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return `did you mean X?` with the most similar name, or a list of the names where none is similar."""
    names = list(names)
    if similar := get_close_matches(name, names, n=1):
        return f"did you mean {similar[0]}?"
    return f"known: {listed(names, MAX_LISTED) or 'none'}"


def listed(names: Sequence[str], most: int) -> str:
    """Return names between commas; of more than `most` the first ones, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
