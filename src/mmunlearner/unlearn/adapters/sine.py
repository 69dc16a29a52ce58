"""Sine adapters (SineProject, arXiv 2511.18444): W + sin(dW), bounded and dense.

No entry moves by more than 1 from where it was, however far dW goes: d sin(dW) = cos(dW) dW.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmunlearner.config import Part
from mmunlearner.errors import MaskError
from mmunlearner.models import candidates
from mmunlearner.unlearn.adapters.adapter import Adapted
from mmunlearner.unlearn.adapters.effective import EffectiveWeight, Substitution, parameters_in_forward, substitute

NAME = "sine_delta"
"""Name of dW among a linear layer's parameters."""


@dataclass(frozen=True)
class Sine:
    """W + sin(dW) for the linear weights W of some parts; dW trains, and the layers' biases."""

    parts: tuple[Part, ...] = ("projector",)
    """As published: the projector alone."""
    quantized = False

    def wrap(self, model: nn.Module, parts: Sequence[Part]) -> Adapted:
        """Give the linear layers of the adapter's parts a dW of zeros, at which the derivative is 1.

        Raises:
            MaskError: none of them lies in `parts`.
        """
        owner = candidates(model)
        chosen = {name for name, part in owner.items() if part in parts and part in self.parts}
        layers = {n: m for n, m in model.named_modules() if f"{n}.weight" in chosen and isinstance(m, nn.Linear)}
        if not layers:
            raise MaskError(f"no linear layer of {', '.join(self.parts)} may train: the adapter would act on nothing")
        model.requires_grad_(False)
        # The units are the layers themselves: no parent reads the weight of a linear layer in a projector.
        handles, weights = [], [EffectiveWeight(f"{name}.weight") for name in layers]
        for layer, weight in zip(layers.values(), weights, strict=True):
            # Held in float32: small steps would be lost in shorter formats.
            layer.register_parameter(NAME, nn.Parameter(torch.zeros_like(layer.weight, dtype=torch.float32)))
            if layer.bias is not None:
                layer.bias.requires_grad_(True)
            handles += substitute(layer, [Substitution(layer, "weight", _Effective(layer, weight))])
        # What else trains now are the biases: they are masked as a model's own weights are.
        deltas = [layer.get_parameter(NAME) for layer in layers.values()]
        biases, bias_handles = parameters_in_forward(model, adapted=deltas)
        handles += bias_handles

        def merge(_: nn.Module | None) -> Any:
            for handle in handles:
                handle.remove()
            with torch.no_grad():
                for layer in layers.values():
                    layer.weight.copy_(effective(layer.weight, layer.get_parameter(NAME)))
                    delattr(layer, NAME)
            return model

        return Adapted(model, [*weights, *biases], merge)


@dataclass(frozen=True)
class _Effective:
    """Computes a layer's effective weight, with its mask as the last link."""

    layer: nn.Module
    weight: EffectiveWeight

    def __call__(self, parameter: Tensor) -> Tensor:
        return self.weight.masked(effective(parameter, self.layer.get_parameter(NAME)))


def effective(weight: Tensor, delta: Tensor) -> Tensor:
    """Return W + sin(dW) in W's number format."""
    return (weight + delta.sin()).to(weight.dtype)
