"""Names that a user writes: objects as `package.module:name`, and suggestions for those that do not exist."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
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
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"known: {', '.join(names[:MAX_LISTED]) or 'none'}{more}"
