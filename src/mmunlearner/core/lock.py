"""A folder's lock: two processes never write to the same run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mmunlearner.errors import ConfigError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process within the block; make the folder if it is not there.

    The operating system's lock (flock) of a file in the folder, which ends with the process, also by SIGKILL. On NFS it
    holds between machines if the server offers locks; where a file system has none, a file with the process's number
    stands in for it, which is taken over if that process has ended on the same machine.

    Raises:
        ConfigError: another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The file stays behind: if it were removed, a process that has just opened it would hold a lock of no file.
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"{folder}: another process is at work in it; wait until it ends, or choose another name"
        ) from None
    try:
        yield
    finally:
        lock.release()
