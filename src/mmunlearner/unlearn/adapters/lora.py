"""Low-rank adapters (LoRA) that obey the mask of the effective weights.

The base weight W gets no gradient under LoRA, so that a mask of its entries would act on nothing. What the method means
there: with G = dL/dW the gradient of the effective weight W + s B A (s = alpha / rank), the factors follow m * G:
dA = s B^T (m * G), dB = s (m * G) A^T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from mmunlearner.config import LoraConfig, Part
from mmunlearner.errors import MaskError
from mmunlearner.models import candidates
from mmunlearner.unlearn.adapters.adapter import Adapted
from mmunlearner.unlearn.adapters.effective import EffectiveWeight, Selection


@dataclass(frozen=True)
class Lora:
    """W + s B A for every linear weight W; A and B train."""

    config: LoraConfig
    quantized = True

    def wrap(self, model: nn.Module, parts: Sequence[Part]) -> Adapted:
        """Put factors on the linear weights of these parts.

        Raises:
            MaskError: none of them is a linear layer.
        """
        linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        targets = [
            name.removesuffix(".weight") for name, part in candidates(model).items() if part in parts and name in linear
        ]
        if not targets:
            raise MaskError(f"no linear layer lies in {', '.join(parts)}: adapters would act on nothing")
        settings = peft.LoraConfig(r=self.config.rank, lora_alpha=cast(int, self.config.alpha), target_modules=targets)
        adapted = peft.get_peft_model(cast(Any, model), settings)
        weights: list[EffectiveWeight] = []
        for name, module in adapted.named_modules():
            if isinstance(module, LoraLayer):
                # On the instance: peft's class keeps its own forward pass, which runs where no mask is on.
                weights.append(EffectiveWeight(f"{name.removeprefix('base_model.model.')}.weight"))
                cast(Any, module).forward = partial(_forward, module, weights[-1])
        return Adapted(adapted, weights, partial(self._merge, adapted, parts))

    def _merge(self, adapted: Any, parts: Sequence[Part], base: nn.Module | None) -> Any:
        if base is None:
            return adapted.merge_and_unload()
        # Merged into quantised weights, the factors would be rounded to their few levels: they go to the whole weights.
        unquantized = self.wrap(base, parts).model
        with torch.no_grad():
            for name, factor in adapted.state_dict().items():
                if ".lora_" in name:
                    unquantized.get_parameter(name).copy_(factor)
        return cast(Any, unquantized).merge_and_unload()


def _forward(layer: LoraLayer, weight: EffectiveWeight, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Run the base layer, quantised or not, and add the factors' share, with masked gradients while a mask is on."""
    if weight.selected is None:
        return type(layer).forward(cast(Any, layer), x, *args, **kwargs)  # pyright: ignore
    (adapter,) = layer.active_adapters  # `wrap` puts on one
    a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    y = layer.get_base_layer()(x)
    return y + cast(Tensor, _MaskedFactors.apply(x, a, b, layer.scaling[adapter], weight.selected)).to(y.dtype)


class _MaskedFactors(torch.autograd.Function):
    """y = s (x A^T) B^T, whose backward gives the factors the masked gradient of the effective weight.

    Activations may be of a shorter number format than the factors, which keep theirs.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, scale: float, selected: Selection
    ) -> Tensor:
        ctx.save_for_backward(x, a, b)
        ctx.scale, ctx.selected = scale, selected
        return (x.to(a.dtype) @ a.T) @ b.T * scale

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, a, b = ctx.saved_tensors
        dx = (ctx.scale * (dy.to(a.dtype) @ b) @ a).to(x.dtype)
        # G = dY^T X is formed for one layer at a time and dropped: no dense copy of the weights outlives the layer.
        dense = (dy.flatten(0, -2).T @ x.flatten(0, -2).to(dy.dtype)).masked_fill(~ctx.selected(x.device), 0.0)
        dense = dense.to(a.dtype)
        return dx, ctx.scale * b.T @ dense, ctx.scale * dense @ a.T, None, None
