"""The lock of a folder: one process at a time, and none after a kill."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmunlearner.core.lock import locked
from mmunlearner.errors import ConfigError

HOLD = """
import sys, time
from pathlib import Path
from mmunlearner.core.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds a folder, and return when it does."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with hold(folder) as process:
        with (
            pytest.raises(ConfigError, match=r"run: another process is at work in it; wait until it ends"),
            locked(folder),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with locked(folder):
        pass


def test_a_second_thread_of_control_is_refused_too(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigError, match="another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_an_error_in_the_block_is_passed_on_and_frees_the_folder(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(tmp_path):
            _ = 1 // 0
