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


def start(work: Path, accumulation: int, tokens: int, stop_every: int, *launcher: str) -> dict[str, torch.Tensor]:
    command = [sys.executable, *launcher, str(SCRIPT), str(work), *map(str, (accumulation, tokens, stop_every))]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(work / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "stop_every"), [(0, 0), (40, 0), (0, 1)])
def test_two_processes_equal_one(tmp_path, tokens, stop_every):
    """With small passes, too, of which the processes may have different numbers; and they stop together."""
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517")
    one = start(tmp_path / "one", 2, 0, stop_every)
    two = start(tmp_path / "two", 1, tokens, stop_every, *launcher)
    moved = 0
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-6)
        moved += weight.numel()
    assert moved > 60_000
