"""Cost and accuracy by the share of the retain set, on the demo's people: python -m bench.retain (docs/results.md)."""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from matplotlib.figure import Figure

from mmunlearner import data, saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import DataConfig, RunConfig
from mmunlearner.core.files import write_json, write_text
from mmunlearner.core.recipes import load_config
from mmunlearner.data import Splits
from mmunlearner.data.benchmarks import people
from mmunlearner.evaluate import quick_scores
from mmunlearner.models import Loaded, load
from mmunlearner.run.tuning import with_settings
from mmunlearner.saliency import Mask
from mmunlearner.unlearn import unlearn

HERE = Path(__file__).parent
METHOD = "mmunlearner_vision"
SHARES = (0.05, 0.1, 0.25, 1.0)
BUDGETS = (2, 1)
"""Retain batches for every forget batch."""
COLUMNS = {
    "forget_vqa": "forget VQA, seen", "forget_vqa_test": "forget VQA, unseen", "retain_vqa": "retain VQA, seen",
    "retain_vqa_test": "retain VQA, unseen", "neighbour_vqa": "neighbour VQA", "general_vqa": "drawings",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.retain", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of the unlearning for each share")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of retain.json and retain.svg")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        runs = measure(load_config("demo"), range(options.seeds), Path(work))
    write_json(options.out / "retain.json", runs)
    write_text(options.out / "retain.svg", plot(runs))


def measure(config: RunConfig, seeds: Sequence[int], work: Path) -> list[dict[str, Any]]:
    """Measure each budget and share of the retain set, for each seed: its cost, and the test half's accuracy."""
    splits = data.load(DataConfig(root=str(people.prepare(work / "data"))), seed=0)
    _, test = data.validation(splits)
    mask = _mask(config, splits)
    columns = {column: test.evaluation[column] for column in COLUMNS}
    runs: list[dict[str, Any]] = []
    for budget in BUDGETS:
        for share in SHARES:
            for seed in seeds:
                train = replace(config.train, retain_per_forget=budget, retain_fraction=share)
                folder = work / f"{budget} {share} {seed}"
                cost, model = _unlearn(replace(config, train=train, seed=seed), splits, mask, folder)
                scores = quick_scores(model, columns, config=config.evaluate)
                accuracy = {column: round(score.value, 4) for column, score in scores.items()}
                runs.append({"retain_per_forget": budget, "share": share, "seed": seed, **cost, **accuracy})
                print(runs[-1], flush=True)
    return runs


def _mask(config: RunConfig, splits: Splits) -> Mask:
    mask = config.methods[METHOD].mask
    if mask is None:
        raise ValueError(f"{METHOD} has no mask")
    return saliency.compute(Encoder(load(config.model.vanilla, device="cpu")), splits, mask)


def _unlearn(config: RunConfig, splits: Splits, mask: Mask, work: Path) -> tuple[dict[str, Any], Loaded]:
    """Run the recipe's first trial; return its cost and the model."""
    method = config.methods[METHOD]
    method = with_settings(method, method.trials[0])
    started = time.process_time()
    vanilla = load(config.model.vanilla, device="cpu")
    trained = unlearn(vanilla, splits, method, config.train, work, mask=mask, seed=config.seed)
    seconds = round(time.process_time() - started, 2)
    return {"processor_seconds": seconds, "tokens": trained.tokens}, trained.loaded


def plot(runs: Sequence[Mapping[str, Any]]) -> str:
    """Draw accuracy against processor seconds as SVG.

    A panel for each column, a line for each budget, a point for each share.
    """
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    for panel, (column, title) in zip(panels.flat, COLUMNS.items(), strict=True):
        for budget, mark in zip(BUDGETS, ("o-", "s--"), strict=True):
            of_budget = [run for run in runs if run["retain_per_forget"] == budget]
            for run in of_budget:
                panel.plot(run["processor_seconds"], 100 * run[column], ".", color="0.7", zorder=1)
            by_share = {share: [run for run in of_budget if run["share"] == share] for share in SHARES}
            x, y = (
                [factor * mean(run[key] for run in repeated) for repeated in by_share.values()]
                for key, factor in (("processor_seconds", 1), (column, 100))
            )
            panel.plot(x, y, mark, label=f"{budget} retain batch{'es' * (budget > 1)} for each forget batch")
            for share, *point in zip(by_share, x, y, strict=True):
                panel.annotate(f"{100 * share:g} %", point, textcoords="offset points", xytext=(4, 4), fontsize=7)
        panel.set_title(title, fontsize=9)
    for panel in panels[1]:
        panel.set_xlabel("processor seconds")
    for row in panels:
        row[0].set_ylabel("accuracy, %")
    panels[0, 0].legend(frameon=False, fontsize=7)
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return stream.getvalue()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
