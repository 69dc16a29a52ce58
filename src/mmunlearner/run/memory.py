"""How much memory a step takes, from a model's configuration alone: its modules are made on the meta device.

What is counted exactly: weights, gradients, the optimizer's state, saliency accumulators, mask bits, adapters.
What is estimated: activations, as every linear layer's input and output for every token that a graph passes through
(tests hold it within 25 % of what autograd saves), and the logits at answer tokens. What is left out: the allocator's
own overhead, libraries, data. Numbers are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from mmunlearner.config import LoraConfig, Part, Quantize, TrainConfig
from mmunlearner.errors import ModelError, reason
from mmunlearner.models import candidates, part_of, resolve_source
from mmunlearner.saliency.fisher import RECOMPUTE_FROM

FLOAT = 4
"""Weights, gradients, states and accumulators are float32."""
HALF = 2
QUANTIZED: Mapping[Quantize, tuple[float, int]] = {"int8": (1, FLOAT), "nf4": (0.5 + (1 + FLOAT / 256) / 64, 0)}
"""Bytes of a quantised weight, and of a row of them: a scale per row, or one of 8 bits per 64 weights whose own scale
is of 256 such (double quantisation)."""
STATES: Mapping[str, int] = {"adamw": 2, "sgd": 0, "muon": 2}
"""Optimizer -> numbers kept per trainable weight; of `muon` at most, as its matrices keep one."""
LOGIT_COPIES = 3
"""Logits of answer tokens, their log-probabilities, their gradient."""
Stored = Literal["all", "products", "inputs"]
"""What a transformer layer keeps for its gradient: everything, its input and matrix products, or its input alone."""
ORDER: tuple[Part, ...] = ("vision", "projector", "language")
"""The parts in the order in which a forward pass goes through them."""


@dataclass(frozen=True)
class Sizes:
    """Counts of a model's numbers, by part."""

    weights: Mapping[Part, int]
    candidates: Mapping[Part, int]
    """Of them, those that a mask may select."""
    inputs: Mapping[Part, int]
    """Sum of the linear layers' input widths: what they keep of each token."""
    outputs: Mapping[Part, int]
    """Sum of their output widths."""
    hidden_widths: Mapping[Part, int]
    """Sum of the widths at which one transformer layer hands on to the next."""
    widest_layer: Mapping[Part, int]
    """Widths of the linear layers of its widest transformer layer."""
    linear: int
    """Weights of the linear layers, the output head's left out: what can be quantised."""
    vocabulary: int
    largest: int
    """Weights of the largest candidate."""

    @property
    def total(self) -> int:
        return sum(self.weights.values())


@dataclass(frozen=True)
class ForwardSize:
    """What one forward pass sees."""

    language: int
    """Tokens of all sequences, those of images included."""
    vision: int = 0
    """Patches of all images."""
    answers: int = 0
    """Tokens whose logits are computed."""
    features: int = 0
    """Image tokens of a pass that ends before the language model."""

    @property
    def seen(self) -> int:
        """Tokens as a run counts them."""
        return self.language + self.features

    def tokens(self, part: Part) -> int:
        return self.language if part == "language" else self.vision


@dataclass(frozen=True)
class Memory:
    """Bytes by what they hold."""

    weights: int = 0
    copy: int = 0
    """The vanilla weights, kept on the CPU to count what moved."""
    gradients: int = 0
    optimizer: int = 0
    saliency: int = 0
    mask: int = 0
    activations: int = 0

    @property
    def on_device(self) -> int:
        return sum(asdict(self).values()) - self.copy

    @property
    def total(self) -> int:
        """With the copy, as where the device is the CPU itself."""
        return self.on_device + self.copy


def meta_model(source: str, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Build a model without weights, from the configuration of any source that `models.load` takes.

    Raises:
        ModelError: there is none, or it is of no image-text-to-text model.
    """
    name = resolve_source(source)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model {source}: no configuration to be had ({reason(error)})") from None


def sizes(model: nn.Module) -> Sizes:
    """Count a model's numbers; it may be on the meta device."""
    owner, selectable = part_of(model), candidates(model)
    parameters = dict(model.named_parameters())

    def by_part(numbers: Mapping[str, int]) -> dict[Part, int]:
        return {part: sum(n for name, n in numbers.items() if owner[name] == part) for part in ORDER}

    layers: dict[Part, list[list[int]]] = {part: [] for part in ORDER}
    for name, module in model.named_modules():
        if isinstance(module, GradientCheckpointingLayer):
            widths = [n for m in module.modules() if isinstance(m, nn.Linear) for n in (m.in_features, m.out_features)]
            part = next(owner[f"{name}.{inner}"] for inner, _ in module.named_parameters())
            layers[cast(Part, part)].append(widths)
    linear = {f"{name}.weight": m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    linear = {name: module for name, module in linear.items() if name in selectable}
    return Sizes(
        weights=by_part({name: p.numel() for name, p in parameters.items()}),
        candidates=by_part({name: parameters[name].numel() for name in selectable}),
        inputs=by_part({name: module.in_features for name, module in linear.items()}),
        outputs=by_part({name: module.out_features for name, module in linear.items()}),
        hidden_widths={part: sum(widths[0] for widths in layers[part]) for part in ORDER},
        widest_layer={part: max(map(sum, layers[part]), default=0) for part in ORDER},
        linear=sum(parameters[name].numel() for name in linear),
        vocabulary=int(cast(Any, model).config.get_text_config().vocab_size),
        largest=max((parameters[name].numel() for name in selectable), default=0),
    )


def training(
    size: Sizes,
    load: ForwardSize,
    train: TrainConfig,
    *,
    parts: Sequence[Part] = ORDER,
    lora: LoraConfig | None = None,
    masked: bool = False,
    dtype: str = "float32",
    weights: str = "float32",
    quantize: Quantize = "none",
) -> Memory:
    """A step of unlearning or fine-tuning that trains these parts; `masked`: with a mask over them.

    The terms' graphs are alive one after the other: `load` is the larger of the two. `weights` is the number format
    that the model is held in, and its copy. Beside a quantised model there are two copies of its whole weights, as
    the adapters are merged into the second; and one of its layers at a time is written out for its product.
    """
    adapters = _adapters(size, parts, lora)
    trained = adapters or sum(size.weights[part] for part in parts)
    number = HALF if dtype == "bfloat16" else FLOAT
    cast_again = size.total if dtype != weights else 0  # under autocast, once a pass
    written = number * (cast_again if quantize == "none" else size.largest)
    dense = FLOAT * size.largest if adapters and masked else 0  # one layer's gradient of the effective weight
    return Memory(
        weights=weight_bytes(size, weights, quantize) + FLOAT * adapters + written,
        copy=weight_bytes(size, weights) * (1 if quantize == "none" else 2),
        gradients=FLOAT * trained + dense,
        optimizer=FLOAT * trained * STATES[train.optimizer],
        mask=_bits(size, parts) if masked else 0,
        activations=activations(size, load, parts, dtype=dtype),
    )


def saliency(
    size: Sizes, load: ForwardSize, parts: Sequence[Part], *, dtype: str = "float32", on_host: bool = False
) -> Memory:
    """One pass of a mask over these parts, as a run makes it: a float32 accumulator per candidate.

    Each layer's gradient is squared and dropped; the sums of the other sets are on disk. `on_host`: the accumulators
    do not lie on the device.
    """
    number = HALF if dtype == "bfloat16" else FLOAT
    return Memory(
        weights=number * size.total,
        gradients=(number + FLOAT * (dtype == "bfloat16")) * size.largest,
        saliency=0 if on_host else FLOAT * sum(size.candidates[part] for part in parts),
        mask=_bits(size, parts),
        activations=activations(
            size, load, parts, dtype=dtype, stored="inputs" if size.total >= RECOMPUTE_FROM else "products"
        ),
    )


SCENARIO_PARTS: Mapping[str, tuple[Part, ...]] = {
    "vision": ("vision", "projector"), "language": ("language",), "all": ORDER,
}  # fmt: skip


def scenarios(size: Sizes, forward: ForwardSize) -> dict[str, Memory]:
    """Estimate the masks and trainings of a model, for a batch of this size."""
    masks = {f"mask of {name}": saliency(size, forward, parts) for name, parts in SCENARIO_PARTS.items()}
    trainings = {
        f"unlearning {name}": training(size, forward, TrainConfig(), parts=parts, masked=True)
        for name, parts in SCENARIO_PARTS.items()
    }
    bases: dict[str, Quantize] = {"": "none", " on int8": "int8", " on nf4": "nf4"}
    adapters = {
        f"unlearning all, adapters of rank 16{base}": training(
            size, forward, TrainConfig(), lora=LoraConfig(rank=16), masked=True, quantize=quantize
        )
        for base, quantize in bases.items()
    }
    return {**masks, **trainings, **adapters}


def activations(
    size: Sizes, load: ForwardSize, parts: Sequence[Part], *, dtype: str = "float32", stored: Stored = "all"
) -> int:
    """What autograd keeps of a forward pass: nothing before the first part that trains.

    A layer that trains keeps its input and, for what follows it, its output; of a frozen one behind it the input is
    kept about half the time, by the norms and activation functions around it. Where a transformer layer is computed
    again, its input is kept, and one layer at a time in full; of `products` the outputs of its linear layers
    and of its attention (about as wide as what it hands on) as well.
    """
    first = min((ORDER.index(part) for part in parts), default=len(ORDER))
    numbers = 0
    for part in ORDER[first:]:
        widths = {
            "all": size.outputs[part] + size.inputs[part] // (1 if part in parts else 2),
            "products": size.outputs[part] + 2 * size.hidden_widths[part] + size.widest_layer[part],
            "inputs": size.hidden_widths[part] + size.widest_layer[part],
        }
        numbers += load.tokens(part) * widths[stored]
    return numbers * (HALF if dtype == "bfloat16" else FLOAT) + LOGIT_COPIES * FLOAT * load.answers * size.vocabulary


def weight_bytes(size: Sizes, weights: str, quantize: Quantize = "none") -> int:
    """Bytes of a model's weights in this number format, linear layers but the output head quantised."""
    number = HALF if weights == "bfloat16" else FLOAT
    if quantize == "none":
        return number * size.total
    each, row = QUANTIZED[quantize]
    return number * (size.total - size.linear) + round(each * size.linear) + row * sum(size.outputs.values())


def _bits(size: Sizes, parts: Sequence[Part]) -> int:
    return sum(size.candidates[part] for part in parts) // 8


def _adapters(size: Sizes, parts: Sequence[Part], lora: LoraConfig | None) -> int:
    """Weights of the low-rank factors; 0 without adapters."""
    return lora.rank * sum(size.inputs[part] + size.outputs[part] for part in parts) if lora and lora.rank else 0


def patches(model: nn.Module, image_tokens: int) -> int:
    """What the vision encoder sees of one image: its patches, or as many as are merged into the image tokens."""
    vision = cast(Any, model).config.vision_config
    side, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if isinstance(side, int) and isinstance(patch, int):
        return (side // patch) ** 2 + 1
    return image_tokens * getattr(vision, "spatial_merge_size", 1) ** 2
