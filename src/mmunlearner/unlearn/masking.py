"""Gradient masks: the weights that each term may move."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mmunlearner.config import Part, TrainConfig
from mmunlearner.errors import ConfigError
from mmunlearner.methods import TermName
from mmunlearner.models import outside_layers, parts
from mmunlearner.saliency import Mask
from mmunlearner.unlearn.adapters import EffectiveWeight


@dataclass(frozen=True)
class Masking:
    """The gradient mask of a run, on the weights as its forward pass uses them."""

    weights: Sequence[EffectiveWeight]
    mask: Mask | None
    terms: Sequence[TermName] = ("forget",)
    """Terms whose gradients are masked."""
    adapted: bool = False
    """True if an adapter trains in place of the model's own weights."""

    @contextmanager
    def on(self, term: TermName) -> Iterator[None]:
        """Mask the gradients of a term whose forward and backward pass lie in the block.

        A weight that the mask does not know (bias, norm, embedding) gets no gradient of the term.
        """
        if self.mask is None or term not in self.terms:
            yield
            return
        for weight in self.weights:
            # Packed until its gradient is there: a bit for each weight is all that lies in memory.
            weight.selected = partial(self.mask.of, weight.name) if weight.name in self.mask else _select_none
        try:
            yield
        finally:  # after an error too, or the next term would be masked
            for weight in self.weights:
                weight.selected = None

    def reached_outside(self, model: nn.Module) -> int:
        """Count the weights outside the mask whose present gradient is not zero; those of adapters are not counted."""
        count = 0
        if self.mask is None or self.adapted:
            return count
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                reached = parameter.grad != 0
                outside = ~self.mask.of(name, reached.device) if name in self.mask else True
                count += int((reached & outside).sum())
        return count


def _select_none(device: torch.device) -> Tensor:
    # Of no dimension: it is broadcast to any weight's shape.
    return torch.zeros((), dtype=torch.bool, device=device)


def trainable_names(model: nn.Module, mask: Mask | None, config: TrainConfig) -> set[str] | None:
    """Return the names of the weights that some term may move (`train.parts`, `layers` and `free`); None: all.

    Raises:
        ConfigError: a part has no such layers, or nothing is left to train in them.
    """
    if mask and config.free == "mask":
        chosen = set(mask.bits)
    else:
        owned = parts(model)
        chosen = {
            name for part in trainable_parts(config, mask.info["parts"] if mask else None) for name in owned[part]
        }
    chosen -= outside_layers(model, config.layers)
    if not chosen:
        raise ConfigError("train.layers: the mask selects nothing in these layers, so that no weight would train")
    return None if len(chosen) == sum(1 for _ in model.named_parameters()) else chosen


def trainable_parts(config: TrainConfig, mask_parts: Collection[Part] | None) -> Collection[Part]:
    """Return the parts in which some term may move weights; `mask_parts` are those of the mask, None without one."""
    return config.parts if mask_parts is None or config.free == "all" else mask_parts


@dataclass(frozen=True)
class WeightChanges:
    """Number of weights that a run moved, by whether the mask selects them."""

    inside: int
    outside: int
    total: int
    forget_outside: int
    """Weights outside the mask that the forget term's own gradient reached: none, or the run is wrong."""


def weight_changes(
    before: Mapping[str, Tensor], model: nn.Module, mask: Mask | None, forget_outside: int
) -> WeightChanges:
    """Compare the weights with what they were before; of adapters, the merged weights."""
    inside = outside = total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if name in before:
            changed = before[name] != parameter.detach().cpu()
            # Without a mask every weight counts as inside; with one, those that it does not know are outside.
            selected = mask.of(name) if mask and name in mask else torch.full_like(changed, mask is None)
            inside += int((changed & selected).sum())
            outside += int((changed & ~selected).sum())
    return WeightChanges(inside, outside, total, forget_outside)
