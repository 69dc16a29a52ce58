"""Memory of a step in bytes, from a model's configuration alone: its modules are made on the meta device.

Counted exactly: weights, gradients, the optimizer's state, saliency accumulators, mask bits, adapters.
Estimated: activations, as every linear layer's input and output for every token that a graph passes through (tests
hold it within 25 % of what autograd saves), and the logits at answer tokens.
Left out: the allocator's own overhead, libraries, data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

from torch import nn

from mmunlearner.config import LoadConfig, LoraConfig, Part, Quantize, TrainConfig
from mmunlearner.models import candidates, layers, part_of
from mmunlearner.models.parts import layer_numbers
from mmunlearner.saliency.fisher import RECOMPUTE_FROM

FLOAT = 4  # bytes: weights, gradients, states and accumulators are float32
HALF = 2
LIBRARIES = 6 * 2**27
"""Bytes that a process takes beside what is counted: torch and transformers, data and what allocators keep (some 0.6
GiB were seen)."""
# Bytes per quantised weight and per row of weights. int8 has a float32 scale per row. nf4 has a scale of 8 bits per 64
# weights, and these scales share a float32 scale per 256 of them (double quantisation, Dettmers et al. 2023).
QUANTIZED: Mapping[Quantize, tuple[float, int]] = {"int8": (1, FLOAT), "nf4": (0.5 + (1 + FLOAT / 256) / 64, 0)}
# Numbers that an optimizer stores per trainable weight; for muon an upper bound, as its matrices have one each.
STATES: Mapping[str, int] = {"adamw": 2, "sgd": 0, "muon": 2}
LOGIT_COPIES = 3  # of answer tokens: the logits, their log-probabilities, their gradient
Stored = Literal["all", "products", "inputs"]
"""Tensors of a transformer layer stored for its gradient: all, its input and matrix products, or its input alone."""
ORDER: tuple[Part, ...] = ("vision", "projector", "language")
"""The parts in the order in which a forward pass goes through them."""


@dataclass(frozen=True)
class Sizes:
    """Counts of a model's numbers, by part."""

    weights: Mapping[Part, int]
    products: Mapping[Part, int]
    """Weights that every token is multiplied with: without tables that are looked up, and without the output head."""
    layers: Mapping[Part, Sequence[int]]
    """The weights of each transformer layer, in order."""
    head: int
    """Weights of the output head, which may be those of the embeddings; answer tokens alone are multiplied with it."""
    candidates: Mapping[Part, int]
    """The weights among them that a mask may select."""
    inputs: Mapping[Part, int]
    """Sum of the linear layers' input widths: numbers stored of each token."""
    outputs: Mapping[Part, int]
    """Sum of their output widths."""
    hidden_widths: Mapping[Part, int]
    """Sum of the hidden widths over the transformer layers."""
    widest_layer: Mapping[Part, int]
    """Sum of the widths of the linear layers in the widest transformer layer."""
    linear: int
    """Weights that can be quantised: those of all linear layers except the output head."""
    vocabulary: int
    largest: int
    """Weights of the largest candidate."""

    @property
    def total(self) -> int:
        return sum(self.weights.values())


@dataclass(frozen=True)
class ForwardSize:
    """Size of one forward pass."""

    language: int
    """Tokens of all sequences, those of images included."""
    vision: int = 0
    """Patches of all images."""
    answers: int = 0
    """Tokens whose logits are computed."""
    features: int = 0
    """Image tokens of a pass that ends before the language model."""

    @property
    def all_tokens(self) -> int:
        """Tokens as a run counts them."""
        return self.language + self.features

    def tokens(self, part: Part) -> int:
        """Positions that a part computes."""
        return self.language if part == "language" else self.vision


@dataclass(frozen=True)
class Memory:
    """Bytes by use."""

    weights: int = 0
    copy: int = 0
    """The vanilla weights, kept on the CPU to count what moved."""
    gradients: int = 0
    optimizer: int = 0
    saliency: int = 0
    mask: int = 0
    activations: int = 0
    relearning: int = 0
    """The copy that relearns, its gradients and its optimizer's state."""

    @property
    def on_device(self) -> int:
        return sum(asdict(self).values()) - self.copy

    @property
    def total(self) -> int:
        """All bytes, with the copy: the need of a machine whose device is the CPU."""
        return self.on_device + self.copy


def sizes(model: nn.Module) -> Sizes:
    """Count a model's numbers; it may be on the meta device."""
    owner, selectable = part_of(model), candidates(model)
    parameters = dict(model.named_parameters())

    def by_part(numbers: Mapping[str, int]) -> dict[Part, int]:
        return {part: sum(n for name, n in numbers.items() if owner[name] == part) for part in ORDER}

    modules = dict(model.named_modules())
    in_order = {part: [modules[name] for name in names] for part, names in layers(model).items()}
    widths = {
        part: [
            [n for m in layer.modules() if isinstance(m, nn.Linear) for n in (m.in_features, m.out_features)]
            for layer in of_part
        ]
        for part, of_part in in_order.items()
    }
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    head = cast(Any, model).get_output_embeddings()
    no_product = looked_up | ({id(head.weight)} if head is not None else set())
    linear = {f"{name}.weight": m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    linear = {name: module for name, module in linear.items() if name in selectable}  # drops the output head
    return Sizes(
        weights=by_part({name: p.numel() for name, p in parameters.items()}),
        products=by_part({name: 0 if id(p) in no_product else p.numel() for name, p in parameters.items()}),
        layers={part: tuple(sum(p.numel() for p in layer.parameters()) for layer in in_order[part]) for part in ORDER},
        head=head.weight.numel() if head is not None else 0,
        candidates=by_part({name: parameters[name].numel() for name in selectable}),
        inputs=by_part({name: module.in_features for name, module in linear.items()}),
        outputs=by_part({name: module.out_features for name, module in linear.items()}),
        # The first linear layer of a transformer layer reads the hidden states.
        hidden_widths={part: sum(of_layer[0] for of_layer in widths[part]) for part in ORDER},
        widest_layer={part: max(map(sum, widths[part]), default=0) for part in ORDER},
        linear=sum(parameters[name].numel() for name in linear),
        vocabulary=int(cast(Any, model).config.get_text_config().vocab_size),
        largest=max((parameters[name].numel() for name in selectable), default=0),
    )


def training(
    size: Sizes,
    forward: ForwardSize,
    train: TrainConfig,
    model: LoadConfig = LoadConfig(),
    *,
    parts: Sequence[Part] = ORDER,
    masked: bool = False,
    relearning: bool = False,
) -> Memory:
    """Estimate a step of unlearning or fine-tuning that trains these parts.

    `masked`: with a mask over them; `relearning`: with a copy of the model that relearns, whole, by AdamW.
    `forward` is the larger of the two terms' passes: each term's graph is freed before the other's is built.
    """
    # B of a layer has `rank` numbers per output, A as many per input.
    adapters = round(
        model.lora.rank
        * sum(trained_share(size, part, train.layers) * (size.inputs[part] + size.outputs[part]) for part in parts)
    )
    trainable = adapters or sum(trained_weights(size, part, train.layers) for part in parts)
    # Autocast keeps a cast copy of the weights for a pass; of quantised weights one layer is dequantised at a time.
    cast_weights = size.total if model.dtype != model.weights else 0
    temporary = _number(model.dtype) * (cast_weights if model.quantize == "none" else size.largest)
    dense = FLOAT * size.largest if adapters and masked else 0  # one layer's gradient of the effective weight
    return Memory(
        weights=weight_bytes(size, model.weights, model.quantize) + FLOAT * adapters + temporary,
        # Adapters of a quantised model are merged into a second copy of the whole weights.
        copy=weight_bytes(size, model.weights) * (1 if model.quantize == "none" else 2),
        gradients=FLOAT * trainable + dense,
        optimizer=FLOAT * trainable * STATES[train.optimizer],
        mask=_bits(size, parts) if masked else 0,
        # All parts of the copy train.
        activations=(
            activations(size, forward, ORDER, dtype=model.dtype)
            if relearning
            else activations(size, forward, parts, train.layers, dtype=model.dtype)
        ),
        relearning=_number(model.weights) * size.total * (2 + STATES["adamw"]) if relearning else 0,
    )


def saliency(
    size: Sizes, forward: ForwardSize, parts: Sequence[Part], *, dtype: str = "float32", on_host: bool = False
) -> Memory:
    """Estimate a Fisher pass over these parts: a float32 accumulator per candidate, on the host with `on_host`."""
    return Memory(
        weights=_number(dtype) * size.total,
        # Each layer's gradient is squared (in float32) and dropped before the next.
        gradients=(_number(dtype) + FLOAT * (dtype == "bfloat16")) * size.largest,
        saliency=0 if on_host else FLOAT * sum(size.candidates[part] for part in parts),
        mask=_bits(size, parts),
        activations=activations(
            size, forward, parts, dtype=dtype, stored="inputs" if size.total >= RECOMPUTE_FROM else "products"
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
            size, forward, TrainConfig(), LoadConfig(quantize=quantize, lora=LoraConfig(rank=16)), masked=True
        )
        for base, quantize in bases.items()
    }
    return {**masks, **trainings, **adapters}


Layers = Mapping[Part, str]
"""Choices of layers that train, by part (`train.layers`)."""
NO_LAYERS: Layers = MappingProxyType({})


def trained_weights(size: Sizes, part: Part, layers: Layers) -> int:
    """Return how many weights of a part train, where it trains: all, or those of the chosen layers."""
    of_layer = size.layers[part]
    return (
        sum(of_layer[i] for i in layer_numbers(layers[part], len(of_layer))) if part in layers else size.weights[part]
    )


def trained_share(size: Sizes, part: Part, layers: Layers) -> float:
    """Return the share of a part's layers that trains."""
    return trained_weights(size, part, layers) / max(1, sum(size.layers[part])) if part in layers else 1.0


def depth(size: Sizes, part: Part, layers: Layers) -> float:
    """Return the share of a part's layers from the first that trains to the last."""
    count = len(size.layers[part])
    return (count - layer_numbers(layers[part], count)[0]) / count if part in layers else 1.0


def activations(
    size: Sizes,
    forward: ForwardSize,
    parts: Sequence[Part],
    layers: Layers = NO_LAYERS,
    *,
    dtype: str = "float32",
    stored: Stored = "all",
) -> int:
    """Estimate the bytes that autograd stores of a forward pass in which these parts (or layers of them) train."""
    # Nothing is stored before the first part that trains.
    first = min((ORDER.index(part) for part in parts), default=len(ORDER))  # no part trains: no part stores
    numbers = 0
    for part in ORDER[first:]:
        widths = {
            # A trained layer stores its input and output; the input of a frozen one behind it is stored about half the
            # time, by the norms and activation functions around it.
            "all": size.outputs[part] + size.inputs[part] // (1 if part in parts else 2),
            # A layer that is computed again stores its input, and is alive in full one at a time; with `products` also
            # the outputs of its linear layers and of its attention (about as wide as its input).
            "products": size.outputs[part] + 2 * size.hidden_widths[part] + size.widest_layer[part],
            "inputs": size.hidden_widths[part] + size.widest_layer[part],
        }
        # Nor before the first layer that trains.
        reached = depth(size, part, layers) if part == ORDER[first] else 1.0
        numbers += round(reached * forward.tokens(part) * widths[stored])
    return numbers * _number(dtype) + LOGIT_COPIES * FLOAT * forward.answers * size.vocabulary


def weight_bytes(size: Sizes, weights: str, quantize: Quantize = "none") -> int:
    """Return the bytes of a model's weights in this number format; `quantize` is that of its linear layers."""
    if quantize == "none":
        return _number(weights) * size.total
    per_weight, per_row = QUANTIZED[quantize]
    unquantized = _number(weights) * (size.total - size.linear)
    return unquantized + round(per_weight * size.linear) + per_row * sum(size.outputs.values())


def _number(dtype: str) -> int:
    return HALF if dtype == "bfloat16" else FLOAT


def _bits(size: Sizes, parts: Sequence[Part]) -> int:
    return sum(size.candidates[part] for part in parts) // 8  # a mask is a bit per candidate


def patches(model: nn.Module, image_tokens: int) -> int:
    """Return the positions of one image in the vision encoder: its patches, or those merged into its tokens."""
    vision = cast(Any, model).config.vision_config
    side, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if isinstance(side, int) and isinstance(patch, int):
        return (side // patch) ** 2 + 1  # and the class token
    # Images of any size: the count of patches follows from the tokens into which they were merged.
    return image_tokens * getattr(vision, "spatial_merge_size", 1) ** 2
