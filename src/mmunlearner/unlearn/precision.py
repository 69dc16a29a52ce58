"""What saves memory, and what it costs: weights of a short number format, activations that are computed again."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from mmunlearner.errors import ConfigError
from mmunlearner.models import Loaded

_log = logging.getLogger(__name__)
_MOST = 0.9
"""Of weights that can move, less than this share is worth a line."""


def movable(model: nn.Module, step: float) -> float:
    """Share of a model's weights that differ after `step` has been added to them, in their own number format.

    AdamW moves a weight by about the learning rate, and one of bfloat16 stays what it is where that is less than half
    the distance to its neighbour: 2^-9 of its size.
    """
    moved = [int((p + step != p).sum()) for p in model.parameters()]
    return sum(moved) / max(sum(p.numel() for p in model.parameters()), 1)


@torch.no_grad()
def warn_of_stuck(loaded: Loaded, learning_rate: float) -> None:
    """Say it where training would leave most weights as they are."""
    share = movable(loaded.model, learning_rate)
    if share < _MOST:
        _log.warning(
            "%s: a step of the learning rate %g moves %.0f %% of its weights (%s); hold them in float32 "
            "(model.weights) or train adapters (model.lora.rank)",
            loaded.source,
            learning_rate,
            100 * share,
            str(loaded.model.dtype).removeprefix("torch."),
        )


def checkpoint(loaded: Loaded) -> None:
    """Let a model compute its activations again in the backward pass.

    Raises:
        ConfigError: it cannot.
    """
    model: Any = loaded.model
    if not model.supports_gradient_checkpointing:
        raise ConfigError(f"train.checkpointing: {type(model).__name__} does not support it; leave it out")
    # transformers 5.23 renamed it
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
