"""Low-rank adapters that obey the mask of the effective weights.

The base weight W gets no gradient under LoRA, so a mask over base names would act on nothing. What the method means
there: with G = dL/dW the gradient of the effective weight W + s B A (s = alpha / rank), the factors follow m * G:
dA = s B^T (m * G), dB = s (m * G) A^T. G = dY^T X is formed for one layer at a time in the backward pass and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from mmunlearner.config import LoraConfig
from mmunlearner.errors import MaskError
from mmunlearner.models import candidates
from mmunlearner.saliency import Mask


def wrap(model: nn.Module, config: LoraConfig, chosen: Sequence[str]) -> peft.PeftModel:
    """Put adapters on the linear weights of the chosen parts.

    Raises:
        MaskError: none of them is a linear layer.
    """
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    targets = [
        name.removesuffix(".weight") for name, part in candidates(model).items() if part in chosen and name in linear
    ]
    if not targets:
        raise MaskError(f"no linear layer lies in {', '.join(chosen)}: adapters would act on nothing")
    settings = peft.LoraConfig(r=config.rank, lora_alpha=cast(int, config.alpha), target_modules=targets)
    return cast(peft.PeftModel, peft.get_peft_model(cast(Any, model), settings))


class _MaskedFactors(torch.autograd.Function):
    """y = s (x A^T) B^T, whose backward gives the factors the masked gradient of the effective weight.

    Activations may be of a shorter number format than the factors, which keep theirs.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, scale: float, selected: Callable[[], Tensor] | None
    ) -> Tensor:
        ctx.save_for_backward(x, a, b)
        ctx.scale, ctx.selected = scale, selected
        return (x.to(a.dtype) @ a.T) @ b.T * scale

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, a, b = ctx.saved_tensors
        dx = (ctx.scale * (dy.to(a.dtype) @ b) @ a).to(x.dtype)
        if ctx.selected is None:
            return dx, torch.zeros_like(a), torch.zeros_like(b), None, None
        dense = (dy.flatten(0, -2).T @ x.flatten(0, -2).to(dy.dtype)).masked_fill(~ctx.selected(), 0.0).to(a.dtype)
        return dx, ctx.scale * b.T @ dense, ctx.scale * dense @ a.T, None, None


@contextmanager
def masked(model: nn.Module, mask: Mask) -> Iterator[None]:
    """Within, every adapter's gradients are those of the masked effective weight (none where the mask has no say)."""
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer):
                key = f"{name.removeprefix('base_model.model.')}.weight"
                layer = cast(Any, module)  # peft's layers are modules too
                stack.callback(setattr, layer, "forward", layer.forward)
                layer.forward = _forward(module, mask, key)
        yield


def _forward(module: LoraLayer, mask: Mask, key: str) -> Callable[..., Tensor]:
    """The base layer, quantised or not, as it is, and beside it the factors."""
    base = module.get_base_layer()
    (adapter,) = module.active_adapters

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        a, b = module.lora_A[adapter].weight, module.lora_B[adapter].weight
        selected = (lambda: mask.of(key, x.device)) if key in mask else None
        y = base(x)
        return y + cast(Tensor, _MaskedFactors.apply(x, a, b, module.scaling[adapter], selected)).to(y.dtype)

    return forward


@torch.no_grad()
def merged(trained: nn.Module, base: nn.Module, config: LoraConfig, chosen: Sequence[str]) -> nn.Module:
    """`base` (changed in place) with the adapters that were trained on a quantised form of it merged into its weights.

    Merged into the quantised weights they would be rounded to those few levels.
    """
    adapted = wrap(base, config, chosen)
    for name, factor in trained.state_dict().items():
        if ".lora_" in name:
            adapted.get_parameter(name).copy_(factor)
    return cast(Any, adapted).merge_and_unload()
