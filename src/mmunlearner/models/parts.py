"""The parts of a vision-language model: vision encoder, projector, language model."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from mmunlearner.config import Part
from mmunlearner.errors import ModelError

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
