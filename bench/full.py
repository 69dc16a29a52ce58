"""A whole run in a process of its own, printed as a line of JSON: python -m bench.full SIDE FOLDER, `ours` first.

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
    """Measure a run's cost, its epochs or forget steps, and the accuracy before and after."""
    loaded, splits = setting.loaded(folder, side), setting.splits(folder)
    own_accuracy = folder / "ours.full.json"

    def scores(columns: tuple[str, ...]) -> dict[str, float]:
        scores = quick_scores(loaded, {column: splits.evaluation[column] for column in columns})
        return {column: score.value for column, score in scores.items()}

    def run(loaded: Loaded, splits: Splits, folder: Path) -> dict[str, int]:
        path = folder / f"full.{side}.safetensors"
        if side == "ours":
            return {"forget_steps": ours.full_run(loaded, splits, path)}
        aim = mean(read_json(own_accuracy)[column] for column in FORGOTTEN)
        return {"epochs": published.full_run(loaded, splits, path, lambda: mean(scores(FORGOTTEN).values()) <= aim)}

    before = scores(SCORED)
    cost = measure(run, loaded, splits, folder)
    accuracy = scores(SCORED)
    if side == "ours":
        write_json(own_accuracy, accuracy)
    return {**cost, "before": before, "accuracy": accuracy}


if __name__ == "__main__":
    torch.manual_seed(0)
    side, folder = sys.argv[1], Path(sys.argv[2])
    clean(folder)
    print(json.dumps(full(side, folder)))
