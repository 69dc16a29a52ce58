"""What a recipe would do, without doing it: counts, tokens, steps, memory, time. Touches no weights, writes no run.

What cannot be told here (no data, no processor, no configuration at hand) is said, with the reason, in its place.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import ProcessorMixin

from mmunlearner import data
from mmunlearner.batches import Encoder
from mmunlearner.config import Part, RunConfig
from mmunlearner.data import Splits
from mmunlearner.data.load import find_format
from mmunlearner.errors import ConfigError, MMUnlearnerError, reason
from mmunlearner.models import Loaded, pick_device, resolve_source
from mmunlearner.models.processor import load_processor
from mmunlearner.models.quantization import check_quantization
from mmunlearner.run import memory
from mmunlearner.run.checks import check_methods
from mmunlearner.run.reckoning import Reckoning, SetCount, Work
from mmunlearner.run.steps import NO_MODEL, read_splits


@dataclass(frozen=True)
class Forecast:
    """All that can be told of a recipe."""

    name: str
    sets: tuple[SetCount, ...]
    overlap: str
    works: tuple[Work, ...]
    weights: Mapping[Part, int]
    """Part -> weights; empty where no configuration is at hand."""
    speed: float
    """Floating-point operations per second that times are reckoned with."""
    speed_is: str
    """Where the speed is from."""
    untold: tuple[str, ...]
    """What could not be counted, and why."""

    @property
    def seconds(self) -> float | None:
        """All operations at that speed, which no run quite reaches, as if every weight were differentiated."""
        known = [work.operations for work in self.works if work.operations is not None]
        return sum(known) / self.speed if known else None


def forecast(config: RunConfig, *, speed: float = 0.0) -> Forecast:
    """Reckon a recipe; `speed` (FLOP/s) is measured on this machine where it is 0.

    Raises:
        ConfigError: the recipe is wrong: an option, a method, no model to unlearn.
    """
    check_methods(config)
    check_quantization(config)
    if not config.model.vanilla and not config.model.base:
        raise ConfigError(NO_MODEL)
    with tempfile.TemporaryDirectory() as folder:
        return _forecast(config, _Teller(config, folder), speed)


def _forecast(config: RunConfig, told: _Teller, speed: float) -> Forecast:
    splits = told.splits()
    model = told.model()
    encoder = told.encoder(model)
    size = memory.sizes(model) if model is not None else None
    speed_is = f"declared: {speed:.3g} FLOP/s" if speed else ""
    if not speed:
        speed = measured_speed(config.model.device, config.model.dtype)
        speed_is = f"that of a matrix product in {config.model.dtype} on this machine: {speed:.3g} FLOP/s"
    reckoning = Reckoning(config, splits, size, encoder, model)
    return Forecast(
        config.name,
        tuple(reckoning.counts()),
        str(data.overlap(splits)) if splits else "",
        tuple(reckoning.works()),
        dict(size.weights) if size else {},
        speed,
        speed_is,
        tuple(told.untold),
    )


def measured_speed(device: str, dtype: str) -> float:
    """Floating-point operations per second of the best of three products of square matrices."""
    where, side = pick_device(device), 1024
    a = torch.randn(side, side, device=where, dtype=getattr(torch, dtype))
    best = 0.0
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        float((a @ a).flatten()[0])  # reading a number waits for the accelerator
        best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best


@dataclass
class _Teller:
    """Fetches what there is, and remembers why the rest is not."""

    config: RunConfig
    folder: str
    """Where `people` may make its own data."""
    untold: list[str] = field(default_factory=list)

    def splits(self) -> Splits | None:
        config = self.config
        root = config.data.root or (self.folder if find_format(config.data.format).embedded else "")
        try:
            return read_splits(config, root)
        except ConfigError:
            raise
        except MMUnlearnerError as error:
            self.untold.append(f"data: {error}")
            return None

    @property
    def source(self) -> str:
        """Where configuration and processor are read."""
        return self.config.model.base or self.config.model.vanilla

    def model(self) -> Any:
        if self.source == "tiny":
            self.untold.append("model: `tiny` is made with the data's own words; it has two million weights")
            return None
        try:
            return memory.meta_model(self.source, trust_remote_code=self.config.model.trust_remote_code)
        except MMUnlearnerError as error:
            self.untold.append(f"memory and time: {error}")
            return None

    def encoder(self, model: Any) -> Encoder | None:
        if model is None:
            return None
        try:
            processor = load_processor(
                resolve_source(self.source), trust_remote_code=self.config.model.trust_remote_code
            )
            if not isinstance(processor, ProcessorMixin):
                raise ValueError(f"{type(processor).__name__} is no processor of images and text")
            return Encoder(Loaded(model, processor, self.source))
        except (OSError, ValueError, KeyError, ImportError, MMUnlearnerError) as error:
            self.untold.append(f"tokens, activations and time: no processor of {self.source} ({reason(error)})")
            return None
