"""What a share of the retain set costs and keeps is measured as the demo does it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import retain
from mmunlearner.config import MaskConfig
from mmunlearner.core.recipes import load_config


@pytest.mark.slow
def test_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = load_config("demo")
    quick = replace(demo.methods[retain.METHOD], mask=MaskConfig(limit=4))
    config = replace(
        demo,
        methods={retain.METHOD: quick},
        train=replace(demo.train, steps=2),
        evaluate=replace(demo.evaluate, limit=12),
    )
    monkeypatch.setattr(retain, "BUDGETS", (2, 1))
    monkeypatch.setattr(retain, "SHARES", (0.05, 1.0))
    found = retain.measure(config, [0], tmp_path)
    assert [(run["retain_per_forget"], run["share"]) for run in found] == [(2, 0.05), (2, 1.0), (1, 0.05), (1, 1.0)]
    assert found[0]["tokens"] > found[2]["tokens"]
    assert all(0 <= run[column] <= 1 for run in found for column in retain.COLUMNS)
    assert retain.plot(found).count("<path") > 24
