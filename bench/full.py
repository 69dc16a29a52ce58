"""A whole run in a process of its own, told as a line of JSON: python -m bench.full SIDE FOLDER, `ours` first.

Mask of vision and projector and unlearning, one of all people to forget: ours with what it takes of the retain set;
published, in as many epochs as it takes to forget as much.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from bench import ours, published, setting
from bench.measure import clean, measure
from mmunlearner.core.files import read_json, write_json
from mmunlearner.data import Splits
from mmunlearner.evaluate import quick_scores
from mmunlearner.models import Loaded
from mmunlearner.run import tuning

(FORGOTTEN,) = tuning.FORGOTTEN["visual"]
SCORED = (*FORGOTTEN, "retain_vqa", "retain_vqa_test", "forget_qa", "retain_qa")


def full(side: str, folder: Path) -> dict[str, Any]:
    """What it took, how many epochs or forget steps, and the accuracy before and after."""
    loaded, splits = setting.loaded(folder, side), setting.splits(folder)
    kept = folder / "ours.full.json"

    def scores(columns: tuple[str, ...]) -> dict[str, float]:
        asked = {column: splits.evaluation[column] for column in columns}
        found = quick_scores(loaded, asked)
        return {column: score.value for column, score in found.items()}

    def run(loaded: Loaded, splits: Splits, folder: Path) -> dict[str, int]:
        path = folder / f"full.{side}.safetensors"
        if side == "ours":
            return {"forget_steps": ours.full_run(loaded, splits, path)}
        aim = mean(read_json(kept)[column] for column in FORGOTTEN)
        return {"epochs": published.full_run(loaded, splits, path, lambda: mean(scores(FORGOTTEN).values()) <= aim)}

    before = scores(SCORED)
    found = measure(run, loaded, splits, folder)
    accuracy = scores(SCORED)
    if side == "ours":
        write_json(kept, accuracy)
    return {**found, "before": before, "accuracy": accuracy}


if __name__ == "__main__":
    torch.manual_seed(0)
    side, folder = sys.argv[1], Path(sys.argv[2])
    clean(folder)
    print(json.dumps(full(side, folder)))
