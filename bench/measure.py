"""One measurement in a process of its own, printed as a line of JSON: python -m bench.measure STEP SIDE FOLDER."""

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
    """Return the making of a mask of all parts."""
    make = {"published": published.saliency, "ours": ours.saliency}[side]
    return lambda loaded, splits, folder: make(loaded, splits, folder / f"{side}.safetensors")


def epoch(side: str) -> Work:
    """Return an epoch of unlearning with the mask that this side made."""
    train = {"published": published.epoch, "ours": ours.epoch}[side]
    return lambda loaded, splits, folder: train(loaded, splits, folder / f"{side}.safetensors")


def evaluation(side: str) -> Work:
    """Return the evaluation: `ours` asks what the published side asks, `candidates` scores all candidates besides."""

    def ask(loaded: Loaded, splits: Splits, folder: Path) -> None:
        if side == "published":
            lines = published.evaluation(loaded, splits)
        else:
            lines = ours.evaluation(loaded, splits, folder / "evaluation", candidates=side == "candidates")
        write_json(folder / f"{side}.answers.json", lines)

    return ask


def products(side: str) -> Work:
    """Return the profiling of one image's gradient: the share of the processor's time in matrix products."""
    gradients = {"published": published.gradients, "ours": ours.gradients}[side]

    def share(loaded: Loaded, splits: Splits, folder: Path) -> dict[str, float]:
        group = fisher_groups(splits.forget, "image")[0]
        gradients(loaded, group[:4])  # caches are filled here, and not timed
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            gradients(loaded, group)
        spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
        return {"share": sum(t for k, t in spent.items() if any(p in k for p in PRODUCTS)) / sum(spent.values())}

    return share


STEPS: dict[str, Callable[[str], Work]] = {
    "saliency": saliency, "epoch": epoch, "evaluation": evaluation, "products": products
}  # fmt: skip


def measure(work: Work, loaded: Loaded, splits: Splits, folder: Path) -> dict[str, Any]:
    """Measure seconds (wall and processor), the peak of memory in bytes, and tokens that the model read."""
    with measured() as before:
        _touch(loaded.model)
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


def _touch(model: nn.Module) -> None:
    """Read all weights: they are a mapped file until then, and their memory would be counted as the work's."""
    for weight in model.parameters():
        weight.detach().sum()


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Collect the tokens of every forward pass, padding included."""
    tokens: list[int] = []

    def count(_: nn.Module, __: Any, inputs: dict[str, Any]) -> None:
        tokens.append(inputs["input_ids"].numel())

    handle = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield tokens
    finally:
        handle.remove()


def clean(folder: Path) -> None:
    """Remove the outputs of an earlier measurement of ours, which would be taken for work that is done."""
    for path in (folder / "evaluation", folder / "ours.work", folder / "full.ours.work"):
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    torch.manual_seed(0)
    step, side, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    clean(folder)
    print(
        json.dumps(
            measure(STEPS[step](side), setting.loaded(folder, side), setting.few(setting.splits(folder)), folder)
        )
    )
