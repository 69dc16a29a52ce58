"""Two processes are one with twice the accumulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("two_processes.py")


def start(work: Path, accumulation: int, *launcher: str) -> dict[str, torch.Tensor]:
    command = [sys.executable, *launcher, str(SCRIPT), str(work), str(accumulation)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(work / "weights.safetensors")


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    one = start(tmp_path / "one", 2)
    two = start(tmp_path / "two", 1, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517")
    moved = 0
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-6)
        moved += weight.numel()
    assert moved > 60_000
