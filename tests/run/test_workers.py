from __future__ import annotations

import os
from pathlib import Path

from mmunlearner.run.workers import _start, _stop


def test_the_user_s_interrupt_reaches_the_run_and_not_its_workers(tmp_path: Path) -> None:
    process = _start(tmp_path, threads=1)
    try:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
    finally:
        _stop(process)
    assert process.returncode is not None
