"""What of this machine a process may use: cores, and memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, or of a service


def cores() -> int:
    """Return the cores that this process may run on: under `taskset` or in a container, fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory that there are for this process; 0 where the system does not say.

    All of it and not what is free at the moment: what follows from it must be the same when a run goes on.
    """
    total = 0
    with suppress(AttributeError, ValueError, OSError):  # Windows
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no such file, or `max`
        total = min(total, int(_LIMIT.read_text())) or total
    return total
