"""Forecast of a recipe: counts, tokens, steps, memory, time. Reads no weights, writes no run.

Without data, processor or configuration, the forecast says what is unknown, and why.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import ProcessorMixin

from mmunlearner import data
from mmunlearner.batches import Encoder
from mmunlearner.config import Part, RunConfig
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError, MMUnlearnerError, reason
from mmunlearner.models import Loaded, pick_device, resolve_source
from mmunlearner.models.processor import load_processor
from mmunlearner.run import memory
from mmunlearner.run.checks import check
from mmunlearner.run.costs import SAMPLED_ITEMS, Estimator, StepCost, sample
from mmunlearner.run.plan import plan
from mmunlearner.run.run_dir import RunDir


@dataclass(frozen=True)
class SetCount:
    """Counts of one data set or evaluation column."""

    name: str
    questions: int
    images: int
    entities: int
    tokens: float | None
    """Mean tokens of a row, image tokens included; None where no processor is at hand."""


@dataclass(frozen=True)
class Forecast:
    """Everything that can be told of a recipe."""

    name: str
    sets: tuple[SetCount, ...]
    overlap: str
    steps: tuple[StepCost, ...]
    weights: Mapping[Part, int]
    """Part -> weights; empty where no configuration is at hand."""
    speed: float
    """Floating-point operations per second that times are computed with."""
    speed_source: str
    unknown: tuple[str, ...]
    """Things that could not be counted, and why."""

    @property
    def seconds(self) -> float | None:
        """Time of all operations at that speed, which no run quite reaches."""
        operations = [step.operations for step in self.steps if step.operations is not None]
        return sum(operations) / self.speed if operations else None


def forecast(config: RunConfig, *, speed: float = 0.0) -> Forecast:
    """Estimate what a recipe takes; `speed` (FLOP/s) is measured on this machine where it is 0.

    Raises:
        ConfigError: the recipe is wrong: an option, a method, no model to unlearn.
    """
    config = check(config, installed=False)
    with tempfile.TemporaryDirectory() as folder:  # where the embedded benchmark makes its data
        run = RunDir(Path(folder), config)
        unknown: list[str] = []
        splits = _splits(run, unknown)
        model = _model(config, unknown)
        encoder = _encoder(config, model, unknown)
        sizes = memory.sizes(model) if model is not None else None
        estimator = Estimator(config, splits, sizes, encoder, model)
        steps = tuple(step.cost(estimator) for step in plan(run).values() if step.cost)
        sets = tuple(_set_counts(splits, encoder)) if splits else ()
    speed_source = f"declared: {speed:.3g} FLOP/s"
    if not speed:
        speed = measured_speed(config.model.device, config.model.dtype)
        speed_source = f"that of a matrix product in {config.model.dtype} on this machine: {speed:.3g} FLOP/s"
    overlap, weights = str(data.overlap(splits)) if splits else "", dict(sizes.weights) if sizes else {}
    return Forecast(config.name, sets, overlap, steps, weights, speed, speed_source, tuple(unknown))


def measured_speed(device: str, dtype: str) -> float:
    """Return the floating-point operations per second of the best of three products of square matrices."""
    where, side = pick_device(device), 1024
    a = torch.randn(side, side, device=where, dtype=getattr(torch, dtype))
    best = 0.0
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        float((a @ a).flatten()[0])  # reading a number waits for the accelerator
        best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best


def _splits(run: RunDir, unknown: list[str]) -> Splits | None:
    try:
        return run.splits
    except ConfigError:
        raise
    except MMUnlearnerError as error:
        unknown.append(f"data: {error}")
        return None


def _model(config: RunConfig, unknown: list[str]) -> Any:
    if config.model.base == "tiny":
        unknown.append("model: `tiny` is made with the data's own words; it has two million weights")
        return None
    try:
        return memory.meta_model(_source(config), trust_remote_code=config.model.trust_remote_code)
    except MMUnlearnerError as error:
        unknown.append(f"memory and time: {error}")
        return None


def _encoder(config: RunConfig, model: Any, unknown: list[str]) -> Encoder | None:
    if model is None:
        return None
    source = _source(config)
    try:
        processor = load_processor(resolve_source(source), trust_remote_code=config.model.trust_remote_code)
        if not isinstance(processor, ProcessorMixin):
            raise ValueError(f"{type(processor).__name__} is no processor of images and text")
        return Encoder(Loaded(model, processor, source))
    except (OSError, ValueError, KeyError, ImportError, MMUnlearnerError) as error:
        unknown.append(f"tokens, activations and time: no processor of {source} ({reason(error)})")
        return None


def _source(config: RunConfig) -> str:
    return config.model.base or config.model.vanilla


def _set_counts(splits: Splits, encoder: Encoder | None) -> Iterator[SetCount]:
    sets = {name: getattr(splits, name) for name in ("forget", "retain", "text", "background")}
    for name, examples in {**sets, **splits.evaluation}.items():
        images = {key for e in examples for key in e.image_keys}
        entities = {e.entity for e in examples}
        tokens = None
        if encoder is not None and examples:
            rows = encoder.rows(sample(examples, SAMPLED_ITEMS))
            tokens = sum(len(row.input_ids) for row in rows) / len(rows)
        yield SetCount(name, len(examples), len(images), len(entities), tokens)
