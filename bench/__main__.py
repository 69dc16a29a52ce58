"""`make bench`: the published procedure and ours on the same model, data and machine, in turns (docs/benchmarks.md)."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch

from bench import equality, growth, memory, setting
from bench.table import table
from mmunlearner.core.files import write_json, write_text

HERE = Path(__file__).parent
SIDES = ("published", "ours")
STEPS = {"saliency": SIDES, "epoch": SIDES, "evaluation": (*SIDES, "candidates")}
"""Step -> sides; our evaluation is measured with all candidate answers as well."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1, help="measurements of each side, in turns")
    parser.add_argument("--quick", action="store_true", help="a small model and little data: whether it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of latest.json and growth.svg")
    parser.add_argument("--work", type=Path, default=HERE / "made", help="folder of model and data, kept for next time")
    options = parser.parse_args()
    size = setting.QUICK if options.quick else setting.FULL
    folder = setting.prepare(options.work, size)
    runs = {step: measure_in_turns(step, folder, options.repetitions) for step in STEPS}
    runs["full_run"] = full_runs(folder)
    shares = {side: run_module("bench.measure", "products", side, folder)["result"]["share"] for side in SIDES}
    result = summarize(runs, shares, equality.check(folder), folder)
    write_json(options.out / "latest.json", result)
    print(f"{table(result)}\n\n{memory.table()}", flush=True)
    result["growth"] = growth.measure(options.quick)
    write_json(options.out / "latest.json", result)
    write_text(options.out / "growth.svg", growth.plot(result["growth"]))


def measure_in_turns(step: str, folder: Path, repetitions: int) -> dict[str, list[dict[str, Any]]]:
    """Measure both sides in turns, so that whatever else the machine does falls on both."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in STEPS[step]}
    for _ in range(repetitions):
        for side, done in runs.items():
            done.append(run_module("bench.measure", step, side, folder))
            print(f"{step}, {side}: {done[-1]['seconds']:.1f} s", flush=True)
    return runs


def full_runs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Measure a whole run of each side, once; ours first, as the published side aims at what it forgot."""
    runs = {side: [run_module("bench.full", side, folder)] for side in reversed(SIDES)}
    for side, (run,) in runs.items():
        print(f"full run, {side}: {run['seconds']:.1f} s", flush=True)
    return runs


def run_module(module: str, *arguments: str | Path) -> dict[str, Any]:
    """Run a measurement in a process of its own, and return the JSON in its last line."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def summarize(
    runs: dict[str, dict[str, list[dict[str, Any]]]], shares: dict[str, float], same: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Return the content of latest.json; ratios are published / ours, of medians."""

    def ratio(step: str, key: str, side: str = "ours") -> float:
        published, measured = (median(run[key] for run in runs[step][name]) for name in ("published", side))
        return round(published / measured, 2)

    disk = [(folder / f"{side}.safetensors").stat().st_size for side in SIDES]
    return {
        "saliency_wall_ratio": ratio("saliency", "seconds"),
        "saliency_peak_ratio": ratio("saliency", "peak_bytes_over_weights"),
        "mask_disk_ratio": round(disk[0] / disk[1], 2),
        "epoch_wall_ratio": ratio("epoch", "seconds"),
        "evaluation_wall_ratio": ratio("evaluation", "seconds"),
        "evaluation_candidates_wall_ratio": ratio("evaluation", "seconds", "candidates"),
        "full_run_wall_ratio": ratio("full_run", "seconds"),
        "processor_ratios": {step: ratio(step, "processor_seconds") for step in runs},
        "mask_bytes": dict(zip(SIDES, disk, strict=True)),
        "share_in_matrix_products": shares,
        "equality": same,
        "runs": runs,
        "size": folder.name,
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__},
    }


if __name__ == "__main__":
    main()
