"""The parts of a vision-language model: vision encoder, projector, language model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from mmunlearner.config import Part
from mmunlearner.errors import ConfigError, ModelError
from mmunlearner.option_types import LAYERS

PROJECTOR_INSIDE_VISION = {"merger", "deepstack_merger_list"}
"""Names of the submodules in which families keep (some of) the projector inside the vision encoder."""


def parts(model: nn.Module) -> dict[Part, list[str]]:
    """Return the parameter names of each part: disjoint, and together every parameter of the model.

    Vision is `get_encoder(modality="image")`, language is `get_decoder()` with the output head, the projector is all
    that is neither.

    Raises:
        ModelError: the model has no image encoder or no decoder of its own.
    """
    untyped = cast(Any, model)
    vision, language = untyped.get_encoder(modality="image"), untyped.get_decoder()
    if vision is untyped or language is untyped or vision is language:
        raise ModelError(f"{type(model).__name__}: has no separate image encoder and decoder, so no parts to mask")
    # By identity: the same weight has another name in the model than in the submodule, and heads may be tied.
    in_vision = {id(p): name for name, p in vision.named_parameters()}
    in_language = {id(p) for p in language.parameters()}
    output_head = untyped.get_output_embeddings()
    in_language |= {id(p) for p in output_head.parameters()} if output_head is not None else set()
    # A head that is tied to the embeddings is in the decoder already; one of its own is language too.
    names: dict[Part, list[str]] = {"vision": [], "projector": [], "language": []}
    for name, parameter in model.named_parameters():
        if id(parameter) in in_language:
            names["language"].append(name)
        elif id(parameter) in in_vision and not PROJECTOR_INSIDE_VISION & set(in_vision[id(parameter)].split(".")):
            names["vision"].append(name)
        else:
            names["projector"].append(name)
    return names


def part_of(model: nn.Module) -> dict[str, Part]:
    """Return the part of each parameter, by its name."""
    return {name: part for part, names in parts(model).items() for name in names}


def layers(model: nn.Module) -> dict[Part, list[str]]:
    """Return the names of the transformer layers of each part, in the model's order."""
    owner, names = part_of(model), cast(dict[Part, list[str]], {"vision": [], "projector": [], "language": []})
    for name, module in model.named_modules():
        # The class by which transformers marks the layers that a backward pass can compute again.
        if isinstance(module, GradientCheckpointingLayer):
            part: Part = next(owner[f"{name}.{inner}"] for inner, _ in module.named_parameters())
            names[part].append(name)
    return names


def layer_numbers(text: str, count: int) -> range:
    """Return the layers that a choice (`last 10`, `20-29`, `last 33%`, ...) takes of `count`, the first being 0.

    By depth, a layer belongs to where its middle lies.
    """
    match = LAYERS.fullmatch(text)
    assert match, text
    if match["percent"] or match["unit"]:
        size = int(match["size"] or 0)
        ends = {"first": (0, size), "last": (100 - size, 100)}
        low, high = ends[match["end"]] if match["end"] else (int(match["low"]), int(match["high"]))
        # (i + 1/2) / count >= low / 100, rounded up
        return range(*(max(0, -((100 - 2 * count * depth) // 200)) for depth in (low, high)))
    if match["end"]:
        return range(int(match["size"])) if match["end"] == "first" else range(count - int(match["size"]), count)
    return range(int(match["low"]), int(match["high"]) + 1)


def chosen_layers(model: nn.Module, chosen: Mapping[Part, str]) -> dict[Part, list[str]]:
    """Return the names of the layers that are chosen (`train.layers`), by part.

    Raises:
        ConfigError: a part has no such layers, or none is chosen.
    """
    names = layers(model)
    for part, text in chosen.items():
        count = len(names[part])
        numbers = layer_numbers(text, count)
        if not numbers or numbers[0] < 0 or numbers[-1] >= count:
            there = f"the {part} part of {type(model).__name__} has {count} layers"
            raise ConfigError(
                f"train.layers.{part} {text}: {there}, 0 to {count - 1}, and at least one must train"
                if count
                else f"train.layers.{part} {text}: {there}; leave it out"
            )
    return {part: [names[part][i] for i in layer_numbers(text, len(names[part]))] for part, text in chosen.items()}


def outside_layers(model: nn.Module, chosen: Mapping[Part, str]) -> set[str]:
    """Return the names of the weights that stay since their part trains in other layers alone (`train.layers`).

    Raises:
        ConfigError: a part has no such layers, or none is chosen.
    """
    owned = parts(model)
    return {
        name
        for part, names in chosen_layers(model, chosen).items()
        for name in owned[part]
        if not name.startswith(tuple(f"{layer}." for layer in names))
    }


def candidates(model: nn.Module) -> dict[str, Part]:
    """Return the weights that a mask may select, with their parts: matrices of linear and patch (convolution) layers.

    These are those of the paper (method step 6): attention, MLP, projector, patch and qkv; norms, biases, embeddings
    and the output head are no candidates.
    """
    owner = part_of(model)
    output_head = cast(Any, model).get_output_embeddings()
    head_weights = {id(p) for p in output_head.parameters()} if output_head is not None else set()
    weights = {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    }
    # Tied weights appear under one name among the parameters: other names are left out.
    return {name: owner[name] for name, w in weights.items() if name in owner and id(w) not in head_weights}
