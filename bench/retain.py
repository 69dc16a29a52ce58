"""What a share of the retain set costs and keeps, on the demo's people: python -m bench.retain (docs/results.md)."""

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
from mmunlearner.data import Example, Splits
from mmunlearner.data.benchmarks import people
from mmunlearner.evaluate import quick_scores
from mmunlearner.models import load
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
    "retain_vqa_test": "retain VQA, unseen", "neighbour_vqa": "neighbour VQA", "general": "general",
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.retain", description=__doc__)
    options.add_argument("--seeds", type=int, default=3, help="runs of the unlearning for each share")
    options.add_argument("--out", type=Path, default=HERE / "results", help="folder of retain.json and retain.svg")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as work:
        found = measure(load_config("demo"), range(given.seeds), Path(work))
    write_json(given.out / "retain.json", found)
    write_text(given.out / "retain.svg", plot(found))


def measure(config: RunConfig, seeds: Sequence[int], work: Path) -> list[dict[str, Any]]:
    """Each budget and share of the retain set, each seed: what it cost, and the test half's accuracy."""
    splits = data.load(DataConfig(root=str(people.prepare(work / "data"))), seed=0)
    _, test = data.validation(splits)
    mask = _mask(config, splits)
    asked = {column: test.evaluation[column] for column in COLUMNS}
    found: list[dict[str, Any]] = []
    for budget in BUDGETS:
        for share in SHARES:
            for seed in seeds:
                place = work / f"{budget} {share} {seed}"
                found.append(_run(config, splits, mask, asked, budget, share, seed, place))
                print(found[-1], flush=True)
    return found


def _mask(config: RunConfig, splits: Splits) -> Mask:
    wanted = config.methods[METHOD].mask
    if wanted is None:
        raise ValueError(f"{METHOD} has no mask")
    return saliency.compute(Encoder(load(config.model.vanilla, device="cpu")), splits, wanted)


def _run(
    config: RunConfig,
    splits: Splits,
    mask: Mask,
    asked: Mapping[str, Sequence[Example]],
    budget: int,
    share: float,
    seed: int,
    work: Path,
) -> dict[str, Any]:
    """The recipe's first trial, with a part of the retain set."""
    method = config.methods[METHOD]
    method = with_settings(method, method.trials[0])
    train = replace(config.train, retain_per_forget=budget, retain_fraction=share)
    started = time.process_time()
    made = unlearn(load(config.model.vanilla, device="cpu"), splits, method, train, work, mask=mask, seed=seed)
    seconds = time.process_time() - started
    scores = quick_scores(made.loaded, asked, config=config.evaluate)
    return {
        "retain_per_forget": budget,
        "share": share,
        "seed": seed,
        "processor_seconds": round(seconds, 2),
        "tokens": made.tokens,
        **{column: round(score.value, 4) for column, score in scores.items()},
    }


def plot(found: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy against processor seconds, a panel for each column: a line for each budget, a point for each share."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True)
    for panel, (column, title) in zip(panels.flat, COLUMNS.items(), strict=True):
        for budget, mark in zip(BUDGETS, ("o-", "s--"), strict=True):
            runs = [run for run in found if run["retain_per_forget"] == budget]
            for run in runs:
                panel.plot(run["processor_seconds"], 100 * run[column], ".", color="0.7", zorder=1)
            of = {share: [run for run in runs if run["share"] == share] for share in SHARES}
            x, y = (
                [factor * mean(run[key] for run in some) for some in of.values()]
                for key, factor in (("processor_seconds", 1), (column, 100))
            )
            panel.plot(x, y, mark, label=f"{budget} retain batch{'es' * (budget > 1)} for each forget batch")
            for share, *place in zip(of, x, y, strict=True):
                panel.annotate(f"{100 * share:g} %", place, textcoords="offset points", xytext=(4, 4), fontsize=7)
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
