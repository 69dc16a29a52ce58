"""One measurement in a process of its own, told as a line of JSON: python -m bench.measure WHAT SIDE FOLDER."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from bench import ours, published, setting
from mmunlearner.core.cost import measured
from mmunlearner.core.files import write_json
from mmunlearner.data import Splits
from mmunlearner.models import Loaded
from mmunlearner.saliency import fisher_groups

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "attention", "convolution")
Work = Callable[[Loaded, Splits, Path], Any]


def saliency(side: str) -> Work:
    makes = {"published": published.saliency, "ours": ours.saliency}[side]
    return lambda loaded, splits, folder: makes(loaded, splits, folder / f"{side}.safetensors")


def epoch(side: str) -> Work:
    """With the mask that this side made."""
    trains = {"published": published.epoch, "ours": ours.epoch}[side]
    return lambda loaded, splits, folder: trains(loaded, splits, folder / f"{side}.safetensors")


def evaluation(side: str) -> Work:
    """`ours` asks what the published side asks, `candidates` weighs all candidate answers besides."""

    def ask(loaded: Loaded, splits: Splits, folder: Path) -> None:
        if side == "published":
            lines = published.evaluation(loaded, splits)
        else:
            lines = ours.evaluation(loaded, splits, folder / "evaluation", candidates=side == "candidates")
        write_json(folder / f"{side}.answers.json", lines)

    return ask


def products(side: str) -> Work:
    """Share of the processor's time in matrix products, over one image's gradient."""
    gradients = {"published": published.gradients, "ours": ours.gradients}[side]

    def share(loaded: Loaded, splits: Splits, folder: Path) -> dict[str, float]:
        group = fisher_groups(splits.forget, "image")[0]
        gradients(loaded, group[:4])  # what is done once is done here
        with profile(activities=[ProfilerActivity.CPU]) as found:
            gradients(loaded, group)
        spent = {event.key: event.self_cpu_time_total for event in found.key_averages()}
        return {"share": sum(t for k, t in spent.items() if any(p in k for p in PRODUCTS)) / sum(spent.values())}

    return share


WHAT: dict[str, Callable[[str], Work]] = {
    "saliency": saliency, "epoch": epoch, "evaluation": evaluation, "products": products
}  # fmt: skip


def measure(work: Work, loaded: Loaded, splits: Splits, folder: Path) -> dict[str, Any]:
    """Seconds (wall and processor), bytes at the peak above what the loaded model takes, tokens that the model saw."""
    with measured() as before:
        read(loaded.model)
    with counted(loaded.model) as tokens, measured() as cost:
        started = time.process_time()
        result = work(loaded, splits, folder)
        processor = time.process_time() - started
    return {
        "seconds": cost.seconds,
        "processor_seconds": round(processor, 3),
        "peak_bytes": cost.peak_memory_bytes,
        "peak_bytes_over_weights": cost.peak_memory_bytes - before.peak_memory_bytes,
        "tokens": sum(tokens),
        "result": result,
    }


def read(model: nn.Module) -> None:
    """Weights are a mapped file until they are read, and would be counted as what the work takes."""
    for weight in model.parameters():
        weight.detach().sum()


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Tokens of every forward pass, padding included."""
    seen: list[int] = []

    def count(_: nn.Module, __: Any, inputs: dict[str, Any]) -> None:
        seen.append(inputs["input_ids"].numel())

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def clean(folder: Path) -> None:
    """What an earlier measurement of ours left would be taken for done."""
    for left in (folder / "evaluation", folder / "ours.work", folder / "full.ours.work"):
        shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    what, side, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    clean(folder)
    print(
        json.dumps(measure(WHAT[what](side), setting.loaded(folder, side), setting.few(setting.splits(folder)), folder))
    )
