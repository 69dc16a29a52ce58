"""Cost of a block: seconds, and peak memory as the operating system or the accelerator counts it."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_open: list[Cost] = []  # of the blocks that are being measured, outermost first
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")  # of Linux


@dataclass
class Cost:
    """Seconds and peak memory of a block, known when the block ends."""

    seconds: float = 0.0
    peak_memory_bytes: int = 0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure a block; the peak is the block's own where the system can reset its counter (Linux).

    What earlier blocks have left, a model and its training above all, is let go of first: otherwise the next model
    would not fit beside it, and its peak would be theirs.
    """
    _release_memory()
    cost, started = Cost(), time.monotonic()
    for outer in _open:  # the counter is about to be reset: blocks around this one note its value so far
        outer.peak_memory_bytes = max(outer.peak_memory_bytes, _peak())
    if _accelerator_in_use():
        sys.modules["torch"].cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not Linux, or not allowed: the peak is then the process's since its start
        _CLEAR.write_text("5")  # resets VmHWM (man 5 proc)
    _open.append(cost)
    try:
        yield cost
    finally:
        _open.remove(cost)
        cost.seconds = round(time.monotonic() - started, 3)
        cost.peak_memory_bytes = max(cost.peak_memory_bytes, _peak())


def _release_memory() -> None:
    """Give memory that nothing uses back to the system: what reference cycles hold, and what allocators keep."""
    gc.collect()
    if _accelerator_in_use():
        sys.modules["torch"].cuda.empty_cache()
    with suppress(OSError, AttributeError):  # another system, or another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # else a training's peak stays with the process


def _accelerator_in_use() -> bool:
    torch = sys.modules.get("torch")  # not imported here: commands without torch must stay so
    return torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()


def _peak() -> int:
    if _accelerator_in_use():
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    try:
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        # In bytes on macOS, in KiB elsewhere.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
