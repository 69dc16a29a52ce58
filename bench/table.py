"""Table of the outcome, in Markdown."""

from __future__ import annotations

from statistics import median
from typing import Any

GOALS = {
    "saliency_wall_ratio": 10, "saliency_peak_ratio": 3, "mask_disk_ratio": 32, "epoch_wall_ratio": 6,
    "evaluation_wall_ratio": 15, "evaluation_candidates_wall_ratio": 15, "full_run_wall_ratio": 30,
}  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """Return the ratios beside their goals, then the measurements that they are made of."""
    lines = ["| published / ours | ratio | wanted | equal |", "|---|---|---|---|"]
    for name, goal in GOALS.items():
        equal = _accuracies(result["runs"]["full_run"]) if "full" in name else _equal(name, result["equality"])
        lines.append(f"| {name} | {result[name]:.1f} | {goal} | {equal} |")
    lines += [
        "",
        "| | seconds (range) | processor s | peak over the weights, MiB | tokens / s |",
        "|---|---|---|---|---|",
    ]
    for step, sides in result["runs"].items():
        lines += [f"| {step}, {side} | {_measured(runs)} |" for side, runs in sides.items()]
    shares = ", ".join(f"{side} {100 * share:.0f} %" for side, share in result["share_in_matrix_products"].items())
    return "\n".join([*lines, "", f"Share of an image's gradient in matrix products: {shares}."])


def _accuracies(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Return the accuracies that both sides end with."""
    texts = []
    for side, (run,) in runs.items():
        forget, retain = (100 * run["accuracy"][column] for column in ("forget_vqa", "retain_vqa"))
        texts.append(f"{side}: forget VQA {forget:.0f} %, retain VQA {retain:.0f} %")
    return "; ".join(texts)


def _equal(name: str, same: dict[str, Any]) -> str:
    step = name.partition("_")[0]
    if step in ("saliency", "mask"):
        mask = same["saliency"]
        return (
            f"{mask['bits_differing']} of {mask['bits']} bits differ, {mask['beyond_rounding']} of them where the "
            "saliencies differ by more than rounding"
        )
    if step == "epoch":
        return f"loss to {same['epoch']['loss']:.0e}, gradients to {same['epoch']['gradients']:.0e}"
    items = same["candidates" if "candidates" in name else "evaluation"]
    scores = "the same scores" if items["same_scores"] else "other scores"
    return f"{items['same_answers']} of {items['items']} answers the same to the letter, {scores}"


def _measured(runs: list[dict[str, Any]]) -> str:
    seconds = [run["seconds"] for run in runs]
    middle = median(seconds)
    spread = f" ({min(seconds):.1f} to {max(seconds):.1f})" if len(seconds) > 1 else ""
    processor, peak = (median(run[key] for run in runs) for key in ("processor_seconds", "peak_bytes_over_weights"))
    return f"{middle:.1f}{spread} | {processor:.1f} | {peak / 2**20:.0f} | {runs[0]['tokens'] / middle:.0f}"
