"""Squared gradients: how much each weight matters for a set of questions (diagonal of the empirical Fisher)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils.checkpoint import checkpoint as recompute
from torch.utils.checkpoint import create_selective_checkpoint_contexts as keeping
from transformers.modeling_layers import GradientCheckpointingLayer

from mmunlearner.batches import Encoder, answers, pack
from mmunlearner.core.files import write_tensors
from mmunlearner.data import Example, entities_in_turn, group_by, group_by_image
from mmunlearner.errors import MaskError, TrainingError
from mmunlearner.models import candidates, check_whole, input_device

Unit = Literal["question", "image", "batch"]
Progress = Callable[[Iterable[Sequence[Example]], str], Iterable[Sequence[Example]]]
CHECKPOINT_SECONDS = 60.0
RECOMPUTE_FROM = 1_000_000_000
"""Weights of a model of whose layers everything is computed twice, matrix products too."""
PRODUCTS = [
    getattr(torch.ops.aten, name).default
    for name in (
        *("mm", "addmm", "bmm", "baddbmm"),
        *(f"_scaled_dot_product_{kind}_attention" for kind in ("flash", "efficient", "cudnn")),
        "_scaled_dot_product_flash_attention_for_cpu",
    )
]
"""The operations that nearly all the time goes to."""


@dataclass(frozen=True)
class Fisher:
    """Mean squared gradient of each candidate weight, fp32 in the weight's shape, and over how many units."""

    squares: Mapping[str, Tensor]
    units: int


def units(examples: Sequence[Example], unit: Unit, limit: int, batch: int = 1) -> list[list[Example]]:
    """What one gradient is taken of: a question, all questions about the same images (texts: about one entity), or
    `batch` questions in the order of their set, as the published code takes them.

    With `limit` > 0 at most so many, taken in turn from each entity (a batch's is its first question's), so that all
    are seen.
    """
    if unit == "image":
        groups = group_by_image(examples)
    elif unit == "batch":
        groups = [list(examples[start : start + batch]) for start in range(0, len(examples), batch)]
    else:
        groups = group_by(examples, lambda example: example.id)
    return entities_in_turn(groups)[: limit or None]


def squared_gradients(
    encoder: Encoder,
    groups: Sequence[Sequence[Example]],
    names: Sequence[str],
    *,
    progress: Progress = lambda groups, _: groups,
    title: str = "saliency",
    checkpoint: Path | None = None,
) -> Fisher:
    """S = E over units of (d CE / d theta)^2, CE = mean over the unit's questions of their answers' cross-entropy.

    The model is in eval mode (no dropout); squares are summed in fp32 as soon as each layer's gradient is there, and
    the gradient is dropped. For the way back a layer's input and matrix products are kept, of large models the input
    alone. With `checkpoint`, the sums are kept every minute, and an interrupted pass goes on.

    Raises:
        MaskError: the weights are quantised.
        ModelError: some of them are offloaded.
        TrainingError: a loss is not finite.
    """
    model = encoder.loaded.model.eval()
    if encoder.loaded.unquantized is not None:
        raise MaskError(
            f"{encoder.loaded.source}: weights of 8 or 4 bits have no gradients to make a mask of; load it with "
            "model.quantize none"
        )
    check_whole(model, title)
    weights = dict(model.named_parameters())
    sums, done = _resume(checkpoint, {name: weights[name] for name in names})
    saved, device = time.monotonic(), input_device(model)
    large = sum(weight.numel() for weight in weights.values()) >= RECOMPUTE_FROM
    with _only(model, set(names)), _squares_into(sums, weights), _recomputing(model, [] if large else PRODUCTS):
        for number, group in enumerate(progress(groups[done:], title), done + 1):
            loss = answers(model, pack(encoder.rows(group), encoder).to(device)).nll.mean()
            if not torch.isfinite(loss):
                raise TrainingError(f"{title}: loss is {loss.item()} at {group[0].id}; is the model damaged?")
            loss.backward()
            del loss  # what its graph still holds goes before the next one grows
            if checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
                write_tensors(checkpoint, sums, {"done": json.dumps(number)})
                saved = time.monotonic()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    for total in sums.values():
        total.div_(max(len(groups), 1))
    return Fisher(sums, len(groups))


def _resume(checkpoint: Path | None, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    size = sum(weight.numel() for weight in weights.values()) * torch.float32.itemsize
    homes = {weight.device: home(weight.device, size) for weight in weights.values()}
    fresh = {
        name: torch.zeros_like(weight, dtype=torch.float32, device=homes[weight.device])
        for name, weight in weights.items()
    }
    if checkpoint is None or not checkpoint.exists():
        return fresh, 0
    with safe_open(checkpoint, framework="pt") as file:
        for name, total in fresh.items():
            total.copy_(file.get_tensor(name))
        return fresh, json.loads(file.metadata()["done"])


def home(device: torch.device, size: int) -> torch.device:
    """Where sums of `size` bytes lie: beside the weights, or with the host where they would take most of what is free.

    Activations have to fit beside them. The host costs a transfer of each gradient.
    """
    if device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] / 2:
        return device
    return torch.device("cpu")


@contextmanager
def _only(model: nn.Module, names: set[str]) -> Iterator[None]:
    """Differentiate these weights alone, then put everything back."""
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    try:
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])


@contextmanager
def _recomputing(model: nn.Module, kept: list[OpOverload]) -> Iterator[None]:
    """What happens within a layer is computed again when its gradient is due, but for the outcomes of `kept`.

    By wrapping the layers, since transformers does it in training mode alone, which would turn dropout on.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    again = partial(recompute, use_reentrant=False, preserve_rng_state=False, context_fn=partial(keeping, kept))
    for layer in layers:
        layer.forward = partial(again, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@contextmanager
def _squares_into(sums: dict[str, Tensor], weights: dict[str, nn.Parameter]) -> Iterator[None]:
    def hook(name: str) -> Callable[[Tensor], None]:
        def square(weight: Tensor) -> None:
            if weight.grad is not None:
                gradient = weight.grad.to(sums[name].device).float()
                sums[name].addcmul_(gradient, gradient)
                weight.grad = None

        return square

    handles = [weights[name].register_post_accumulate_grad_hook(hook(name)) for name in sums]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def candidate_names(model: nn.Module, parts: Sequence[str]) -> list[str]:
    """Candidate weights of these parts, in the model's order."""
    return [name for name, part in candidates(model).items() if part in parts]
