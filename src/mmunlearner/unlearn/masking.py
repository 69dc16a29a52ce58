"""Which weights each term may move: the mask on the forget term, freezing on both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmunlearner.config import TrainConfig
from mmunlearner.errors import ConfigError
from mmunlearner.models import parts
from mmunlearner.saliency import Mask

TermName = Literal["forget", "retain"]


@dataclass(frozen=True)
class Scope:
    """Made once per run; `acting` is entered for each term's forward and backward pass."""

    model: nn.Module
    mask: Mask | None
    free: Literal["all", "parts", "mask"]

    @contextmanager
    def acting(self, term: TermName) -> Iterator[None]:
        """Gradients that come in here are cut to what `term` may move."""
        if self.mask is None or (term == "retain" and self.free != "mask"):
            yield
            return
        with ExitStack() as stack:
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    stack.callback(parameter.register_hook(_cut(self.mask, name)).remove)
            yield


def _cut(mask: Mask, name: str) -> Callable[[Tensor], Tensor]:
    """m * gradient (method step 4); a weight that the mask does not know gets none of the term."""
    if name not in mask:
        return torch.zeros_like
    return lambda gradient: gradient.masked_fill(~mask.of(name, gradient.device), 0.0)


def scope(model: nn.Module, mask: Mask | None, config: TrainConfig, chosen: Sequence[str]) -> Scope:
    """Freeze what no term may move, and return what the terms may.

    `chosen` are the mask's parts; without a mask every weight is free for both terms.

    Raises:
        ConfigError: the optimizer would move weights that the mask forbids.
    """
    if mask is not None and config.optimizer == "muon":
        raise ConfigError(
            "train.optimizer muon mixes the weights of a matrix, so it cannot keep a mask: use adamw or sgd"
        )
    if mask is not None and config.free == "mask" and config.weight_decay:
        raise ConfigError(
            f"train.weight_decay {config.weight_decay} moves weights outside the mask, which train.free mask forbids: "
            "set it to 0"
        )
    if mask is not None and config.free != "all":
        owned = {name for part, names in parts(model).items() if part in chosen for name in names}
        allowed = set(mask.bits) if config.free == "mask" else owned
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in allowed)
    return Scope(model, mask, config.free)


@dataclass(frozen=True)
class Moved:
    """How many weights a run moved, by whether the mask selects them."""

    inside: int
    outside: int
    total: int
    forget_outside: int
    """Weights outside the mask that the forget term's own gradient reached: none, or the run is wrong."""


def moved(before: dict[str, Tensor], model: nn.Module, mask: Mask | None, forget_outside: int) -> Moved:
    """Compare the weights with what they were before; with adapters, the effective (merged) weights."""
    inside = outside = total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if name in before:
            changed = before[name] != parameter.detach().cpu()
            selected = mask.of(name) if mask and name in mask else torch.full_like(changed, mask is None)
            inside += int((changed & selected).sum())
            outside += int((changed & ~selected).sum())
    return Moved(inside, outside, total, forget_outside)


def reached_outside(model: nn.Module, mask: Mask) -> int:
    """Weights outside the mask whose present gradient is not zero."""
    count = 0
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            reached = parameter.grad != 0
            count += int((reached & ~mask.of(name, reached.device)).sum() if name in mask else reached.sum())
    return count
