"""The hub of models and data sets: whether it answers, asked once, and without its lines about every further try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from mmunlearner.errors import reason

SECONDS = 10.0
"""Time that the hub has for its answer."""


@cache  # one try in a process: whoever has no network learns it once, at once
def hub_problem() -> str:
    """Return why the hub cannot be asked; empty if it answers."""
    # Imported here: it takes a second, which only hub ids should pay.
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        status = get_session().head(constants.ENDPOINT, timeout=SECONDS).status_code
    except Exception as error:  # which classes there are depends on the version of the hub's client
        return f"{constants.ENDPOINT}: {reason(error)}"
    return f"{constants.ENDPOINT}: answers {status}" if status >= 500 else ""


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Keep back the lines that the hub's client logs about every request that it repeats; errors are raised anyway."""
    from huggingface_hub import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
