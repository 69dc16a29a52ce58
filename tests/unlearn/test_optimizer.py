"""Learning rates of the steps."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import get_scheduler

from mmunlearner.config import TrainConfig
from mmunlearner.unlearn.optimizer import learning_rate_share

NAMES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
SCHEDULES = st.sampled_from(["constant", "linear", "cosine"])
Schedule = Literal["constant", "linear", "cosine"]


@given(st.integers(1, 60), st.floats(0, 1), SCHEDULES)
def test_no_step_has_a_learning_rate_of_zero(steps: int, warmup: float, schedule: Schedule) -> None:
    shares = [learning_rate_share(i, TrainConfig(warmup=warmup, schedule=schedule), steps) for i in range(steps)]
    assert all(0 < share <= 1 for share in shares)
    rising = round(warmup * steps)
    assert shares[: rising + 1] == sorted(shares[: rising + 1])
    assert shares[rising:] == sorted(shares[rising:], reverse=True)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_behind_the_warmup_rates_are_those_of_transformers(schedule: Schedule, warmup: float) -> None:
    steps, rising = 20, round(20 * warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(NAMES[schedule], optimizer, num_warmup_steps=rising, num_training_steps=steps)
    for step in range(steps):
        if step >= rising:
            share = learning_rate_share(step, TrainConfig(warmup=warmup, schedule=schedule), steps)
            assert share == theirs.get_last_lr()[0]
        optimizer.step()
        theirs.step()
