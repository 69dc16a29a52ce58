"""Diagonal of the empirical Fisher information: mean squared gradients, by weight, over the questions of a data set."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils.checkpoint import checkpoint as recompute
from torch.utils.checkpoint import create_selective_checkpoint_contexts as selective_contexts
from transformers.modeling_layers import GradientCheckpointingLayer
from typing_extensions import TypedDict

from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.core.cost import Cost
from mmunlearner.core.files import write_tensors
from mmunlearner.core.progress import Progress
from mmunlearner.core.records import check_record
from mmunlearner.core.validation import WholeNumber
from mmunlearner.data import Example, entities_in_turn, group_by, group_by_image
from mmunlearner.errors import MaskError, TrainingError, reason
from mmunlearner.models import candidates, check_not_offloaded, input_device, replaced_forward

Unit = Literal["question", "image", "batch"]
FORMAT = "mmunlearner-squares-1"
CHECKPOINT_SECONDS = 60.0
"""Time between two checkpoints of an unfinished sum."""
RECOMPUTE_FROM = 1_000_000_000
"""From this many weights on, a model computes everything in a layer twice, matrix products too."""
PRODUCTS = [
    getattr(torch.ops.aten, name).default
    for name in (
        *("mm", "addmm", "bmm", "baddbmm"),
        *(f"_scaled_dot_product_{kind}_attention" for kind in ("flash", "efficient", "cudnn")),
        "_scaled_dot_product_flash_attention_for_cpu",
    )
]
"""Operations that take nearly all of the time; smaller models keep their results for the backward pass."""


@dataclass(frozen=True)
class Fisher:
    """Diagonal of the empirical Fisher information on one data set."""

    squares: Mapping[str, Tensor]
    """Weight name -> mean squared gradient, fp32 in the weight's shape."""
    units: int
    """Number of gradients that the mean is over."""
    cost: Cost = field(default_factory=Cost, compare=False)

    def save(self, path: Path) -> Path:
        """Write squares and cost to `path` (safetensors)."""
        info = {"units": self.units, "cost": asdict(self.cost)}
        return write_tensors(path, self.squares, {FORMAT: json.dumps(info)})


class _Info(TypedDict):
    """Metadata of a file of squares."""

    units: WholeNumber
    cost: Cost


def load_fisher(path: Path) -> Fisher:
    """Open a file that `Fisher.save` wrote; a weight's squares are read at each access.

    Raises:
        MaskError: it cannot be read.
    """
    with _measured_before(path), safe_open(path, framework="pt") as file:
        info = check_record(json.loads(file.metadata()[FORMAT]), _Info, FORMAT)
        return Fisher(_FileTensors(path, tuple(file.keys())), info["units"], info["cost"])


@contextmanager
def _measured_before(path: Path) -> Iterator[None]:
    """Name a file of squares that cannot be read.

    Raises:
        MaskError: anything was raised; a damaged file can make its reader fail in any way.
    """
    try:
        yield
    except Exception as error:
        raise MaskError(
            f"{path}: its squared gradients cannot be read ({reason(error)}); remove it, and they are measured again"
        ) from error


@dataclass(frozen=True)
class _FileTensors(Mapping[str, Tensor]):
    """Tensors of a safetensors file, one in memory at a time."""

    path: Path
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> Tensor:
        with _measured_before(self.path), safe_open(self.path, framework="pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names


def fisher_groups(examples: Sequence[Example], unit: Unit, limit: int = 0, batch: int = 1) -> list[list[Example]]:
    """Divide a data set into groups of questions; each group gives one gradient.

    Unit `question`: one question. `image`: all questions about the same images (texts: about one entity). `batch`:
    `batch` questions in the order of their set, as the published code takes them. With `limit` > 0 at most `limit`
    groups, one of each entity in turn (a batch counts for its first question's entity), so that all are seen.
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
    progress: Progress = Progress(),
    title: str = "saliency",
    checkpoint: Path | None = None,
) -> Fisher:
    """Compute S = E over groups of (d CE / d theta)^2, CE = mean over the group's questions of their cross-entropy.

    The model is in eval mode (no dropout). With `checkpoint`, the sums are written there every minute, and an
    interrupted pass goes on from them.

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
    check_not_offloaded(model, title)
    weights = dict(model.named_parameters())
    sums, done = _resume(checkpoint, {name: weights[name] for name in names})
    saved, device = time.monotonic(), input_device(model)
    # A layer's input and matrix products are stored for the backward pass; of large models the input alone.
    large = sum(weight.numel() for weight in weights.values()) >= RECOMPUTE_FROM
    stored = [] if large else PRODUCTS
    with _trainable_only(model, set(names)), _accumulate_squares(sums, weights), _recompute_layers(model, stored):
        for number, group in enumerate(progress.track(groups, title, done), done + 1):
            loss = answers(model, share_prefixes(encoder.rows(group), encoder).to(device)).nll.mean()
            if not torch.isfinite(loss):
                raise TrainingError(f"{title}: loss is {loss.item()} at {group[0].id}; is the model damaged?")
            loss.backward()
            del loss  # its graph holds memory that the next forward pass needs
            if checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
                write_tensors(checkpoint, sums, {"done": json.dumps(number)})
                saved = time.monotonic()
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    for total in sums.values():
        total.div_(max(len(groups), 1))
    return Fisher(sums, len(groups))


def _resume(checkpoint: Path | None, weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Return the sums to go on with, and the number of groups in them."""
    size = sum(weight.numel() for weight in weights.values()) * torch.float32.itemsize
    devices = {weight.device: sums_device(weight.device, size) for weight in weights.values()}
    sums = {
        name: torch.zeros_like(weight, dtype=torch.float32, device=devices[weight.device])
        for name, weight in weights.items()
    }
    if checkpoint is None or not checkpoint.exists():
        return sums, 0
    with _measured_before(checkpoint), safe_open(checkpoint, framework="pt") as file:
        for name, total in sums.items():
            if (stored := file.get_tensor(name)).shape != total.shape:  # `copy_` would repeat it
                raise ValueError(f"{name} is {tuple(stored.shape)} there, {tuple(total.shape)} here")
            total.copy_(stored)
        return sums, int(json.loads(file.metadata()["done"]))


def sums_device(device: torch.device, size: int) -> torch.device:
    """Choose the device of sums of `size` bytes: the weights' own, or the host if they fill half of its memory."""
    # Half of what is free: activations have to fit beside them. The host costs a transfer of each gradient.
    if device.type != "cuda" or size <= torch.cuda.mem_get_info(device)[0] / 2:
        return device
    return torch.device("cpu")


@contextmanager
def _trainable_only(model: nn.Module, names: set[str]) -> Iterator[None]:
    """Differentiate these weights alone within the block."""
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    try:
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])


@contextmanager
def _recompute_layers(model: nn.Module, stored: list[OpOverload]) -> Iterator[None]:
    """Within the block, compute each layer again in the backward pass, except for the results of `stored` operations.

    Layers are wrapped here, since transformers recomputes in training mode alone, which would turn dropout on.
    """
    # No random numbers to restore: in eval mode nothing draws any.
    wrapped = partial(
        recompute, use_reentrant=False, preserve_rng_state=False, context_fn=partial(selective_contexts, stored)
    )
    with ExitStack() as stack:
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                stack.enter_context(replaced_forward(layer, partial(wrapped, layer.forward)))
        yield


@contextmanager
def _accumulate_squares(sums: dict[str, Tensor], weights: dict[str, nn.Parameter]) -> Iterator[None]:
    """Within the block, add the square of each gradient to the weight's sum, in fp32, and drop the gradient at once."""

    def hook(name: str) -> Callable[[Tensor], None]:
        def square(weight: Tensor) -> None:
            if weight.grad is not None:
                # To the sums' device first: it has the shorter number format on the way.
                gradient = weight.grad.to(sums[name].device).float()
                sums[name].addcmul_(gradient, gradient)
                weight.grad = None

        return square

    # Within the backward pass, so that no more than one layer's gradient is alive.
    handles = [weights[name].register_post_accumulate_grad_hook(hook(name)) for name in sums]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def candidate_names(model: nn.Module, parts: Sequence[str]) -> list[str]:
    """Return the names of the candidate weights of these parts, in the model's order."""
    return [name for name, part in candidates(model).items() if part in parts]
