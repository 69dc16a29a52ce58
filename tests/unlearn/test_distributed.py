"""Two processes are one with twice the accumulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.tiny import VOCABULARY, llava

SCRIPT = Path(__file__).with_name("two_processes.py")


BOTH, VISION = ("vision", "language"), ("vision",)
ANCHOR = {"anchor": 1.0, "retain_weight": 0.0}


def start(work: Path, given: tuple[Any, ...], train: dict[str, int], *launcher: str) -> dict[str, torch.Tensor]:
    parts, options, common = given
    command = [sys.executable, *launcher, str(SCRIPT), str(work), json.dumps((parts, options, common | train))]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(work / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "options", "train", "tokens", "accumulation"),
    [
        pytest.param(BOTH, {}, {}, 0, 1, id="plain"),
        pytest.param(BOTH, {}, {}, 40, 1, id="small passes, of which the processes may have different numbers"),
        pytest.param(BOTH, {}, {"stop_every": 1}, 0, 1, id="they stop together"),
        pytest.param(BOTH, {}, {}, 0, 2, id="two batches to a step on each"),
        pytest.param(VISION, {}, {"batch_size": 1}, 0, 1, id="texts that reach nothing beside images"),
        pytest.param(BOTH, ANCHOR, {"batch_size": 1}, 0, 1, id="the language model skipped"),
        pytest.param(VISION, ANCHOR, {}, 40, 1, id="the language model skipped, small passes"),
    ],
)
def test_two_processes_equal_one(tmp_path, parts, options, train, tokens, accumulation):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    given = parts, options, train
    one = start(tmp_path / "one", given, {"accumulation": 2 * accumulation})
    two = start(tmp_path / "two", given, {"accumulation": accumulation, "tokens_per_batch": tokens}, *launcher)
    before = dict(llava(VOCABULARY).model.named_parameters())
    moved = 0
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-6)
        moved += int((weight != before[name].detach()).sum())
    assert moved > 1_000
