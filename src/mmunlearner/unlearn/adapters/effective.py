"""Effective weights: weights as the forward pass uses them, where adapters and gradient masks act.

A hook on the parameter itself would be ignored, without an error, once FSDP2 shards the weights: autograd then ends at
a weight that is gathered anew for each forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils.hooks import RemovableHandle

Selection = Callable[[torch.device], Tensor]
"""Mask of one weight, bool in its shape, unpacked on the device where its gradient is."""


@dataclass
class EffectiveWeight:
    """A weight as the forward pass uses it: the parameter itself, or what an adapter makes of it."""

    name: str
    """Name of the parameter in the model without an adapter, by which masks know it."""
    selected: Selection | None = None
    """Entries whose gradient passes, while a masked term runs; None: all of them."""

    def masked(self, weight: Tensor) -> Tensor:
        """Return the weight, with a gradient of m * G in place of G while a masked term runs (method step 4)."""
        selected = self.selected  # as it is in this forward pass, even if it has changed when the backward pass runs
        if selected is None or not (torch.is_grad_enabled() and weight.requires_grad):
            return weight
        # The hook is on a view, which is this forward pass's own: so it acts whatever made the weight.
        view = weight.view_as(weight)
        # Filled, not multiplied: a gradient outside the mask that is infinite would become NaN.
        view.register_hook(lambda gradient: gradient.masked_fill(~selected(gradient.device), 0.0))
        return view


@dataclass(frozen=True)
class Substitution:
    """A module's parameter, and what the module reads in its place within a forward pass."""

    module: nn.Module
    attribute: str
    compute: Callable[[Tensor], Tensor]
    """Parameter -> effective weight."""


def substitute(unit: nn.Module, substitutions: Sequence[Substitution]) -> list[RemovableHandle]:
    """Let modules read effective weights in place of their parameters while `unit` runs.

    Parameters stay registered under their names, so that checkpoints and optimizers see no difference.
    """

    def enter(*_: Any) -> None:
        for item in substitutions:
            # An attribute of the instance is found before `nn.Module` looks among its parameters.
            vars(item.module)[item.attribute] = item.compute(item.module._parameters[item.attribute])  # pyright: ignore

    def leave(*_: Any) -> None:
        # The graph of this pass holds the views for the backward pass. A layer that is recomputed there reads the
        # parameter itself, which has the same values: its gradient still goes by the first graph.
        for item in substitutions:
            vars(item.module).pop(item.attribute, None)

    # FSDP2's own hooks gather the weights before ours and free them after: it prepends its first and appends its last.
    # Always: an error in the middle of the forward pass leaves no view behind.
    return [
        unit.register_forward_pre_hook(enter),
        unit.register_forward_hook(leave, always_call=True, prepend=True),
    ]


def parameters_in_forward(
    model: nn.Module, adapted: Collection[nn.Parameter] = ()
) -> tuple[list[EffectiveWeight], list[RemovableHandle]]:
    """Return the trainable parameters as effective weights, and the hooks that make the forward pass use them.

    `adapted` are parameters of adapters, which have effective weights of their own.
    """
    skipped = {id(parameter) for parameter in adapted}
    # Tied weights are one parameter, with one name, in several modules.
    weights = {
        id(p): EffectiveWeight(name) for name, p in model.named_parameters() if p.requires_grad and id(p) not in skipped
    }
    units: dict[nn.Module, list[Substitution]] = {}
    _collect(model, model, weights, units)
    handles = [handle for unit, substitutions in units.items() for handle in substitute(unit, substitutions)]
    return list(weights.values()), handles


def _collect(
    module: nn.Module, unit: nn.Module, weights: dict[int, EffectiveWeight], units: dict[nn.Module, list[Substitution]]
) -> None:
    """Add the module's substitutions to those of the innermost unit around it.

    A unit is what gathers weights: the whole model, or a module that FSDP2 has wrapped.
    """
    # Not the module that holds the parameter: a parent may read it too, before or after that module runs (position
    # embeddings that are resized, attention's output projection).
    unit = module if isinstance(module, FSDPModule) else unit
    for attribute, parameter in module._parameters.items():
        if id(parameter) in weights:
            substitution = Substitution(module, attribute, weights[id(parameter)].masked)
            units.setdefault(unit, []).append(substitution)
    for child in module.children():
        _collect(child, unit, weights, units)
