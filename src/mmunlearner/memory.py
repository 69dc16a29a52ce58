"""What a step takes of a device's memory, computed from a model's shapes: meta tensors are enough."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import nn

from mmunlearner.config import Part
from mmunlearner.models import candidates, part_of
from mmunlearner.saliency.gradients import RECOMPUTE_FROM

FLOAT = 4
"""Bytes of the numbers that are never rounded further: masters, gradients, moments, squares."""


@dataclass(frozen=True)
class Memory:
    """Bytes on the device."""

    weights: int
    gradients: int
    moments: int
    squares: int
    activations: int

    @property
    def total(self) -> int:
        return sum(astuple(self))


def saliency_memory(
    model: nn.Module, parts: Collection[Part], tokens: int, dtype: torch.dtype, *, squares_on_host: bool = False
) -> Memory:
    """Of one pass: weights in `dtype`, one layer's gradient at a time, squares in fp32 of the candidates of `parts`.

    `tokens` are those of one row: an image's, and of all questions about it.
    """
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    chosen = [sizes[name] for name, part in candidates(model).items() if part in parts]
    return Memory(
        weights=sum(sizes.values()) * dtype.itemsize,
        gradients=max(chosen, default=0) * (dtype.itemsize + FLOAT),
        moments=0,
        squares=0 if squares_on_host else sum(chosen) * FLOAT,
        activations=_activations(model, tokens, dtype, recomputed=sum(sizes.values()) >= RECOMPUTE_FROM),
    )


def training_memory(model: nn.Module, parts: Collection[Part], tokens: int, dtype: torch.dtype) -> Memory:
    """Of one step of AdamW on all weights of `parts`: fp32 masters, both moments, activations in `dtype`."""
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    trained = sum(sizes[name] for name, part in part_of(model).items() if part in parts)
    return Memory(
        weights=sum(sizes.values()) * FLOAT,
        gradients=trained * FLOAT,
        moments=2 * trained * FLOAT,
        squares=0,
        activations=_activations(model, tokens, dtype),
    )


def _activations(model: nn.Module, tokens: int, dtype: torch.dtype, *, recomputed: bool = False) -> int:
    """34 bytes per token, layer and hidden unit in 16 bits, without the attention scores, which SDPA does not keep
    (Korthikanti et al. 2022, arXiv 2205.05198, eq. 1); 2 of layers that are recomputed, and 34 of the one that is.

    An upper bound: the image's own layers count as many tokens, and layers that need no gradient of their weights are
    counted in full.
    """
    config: Any = model.config
    stacks = [config.get_text_config(), config.vision_config]
    units = sum(_layers(stack) * _width(stack) for stack in stacks)
    if recomputed:
        return dtype.itemsize * tokens * (units + 17 * max(map(_width, stacks)))
    return 17 * dtype.itemsize * tokens * units


def _layers(config: Any) -> int:
    return getattr(config, "num_hidden_layers", None) or config.depth


def _width(config: Any) -> int:
    """Some vision towers call the width of what they hand on `hidden_size`, and their own `embed_dim`."""
    return getattr(config, "embed_dim", None) or config.hidden_size
