"""The parts of a vision-language model: vision encoder, projector, language model."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from mmunlearner.config import Part
from mmunlearner.errors import ModelError

# Families that keep (some of) the projector inside the vision encoder: the names of those submodules.
PROJECTOR_INSIDE_VISION = {"merger", "deepstack_merger_list"}


def parts(model: nn.Module) -> dict[Part, list[str]]:
    """Parameter names of each part: disjoint, and together every parameter of the model.

    Vision is `get_encoder(modality="image")`, language is `get_decoder()` with the output head, the projector is
    what is left between them.

    Raises:
        ModelError: the model has no image encoder or no decoder of its own.
    """
    unwrapped = cast(Any, model)
    vision, language = unwrapped.get_encoder(modality="image"), unwrapped.get_decoder()
    if vision is unwrapped or language is unwrapped or vision is language:
        raise ModelError(f"{type(model).__name__}: has no separate image encoder and decoder, so no parts to mask")
    in_vision = {id(p): name for name, p in vision.named_parameters()}
    in_language = {id(p) for p in language.parameters()}
    head = unwrapped.get_output_embeddings()
    in_language |= {id(p) for p in head.parameters()} if head is not None else set()
    found: dict[Part, list[str]] = {"vision": [], "projector": [], "language": []}
    for name, parameter in model.named_parameters():
        if id(parameter) in in_language:
            found["language"].append(name)
        elif id(parameter) in in_vision and not PROJECTOR_INSIDE_VISION & set(in_vision[id(parameter)].split(".")):
            found["vision"].append(name)
        else:
            found["projector"].append(name)
    return found


def part_of(model: nn.Module) -> dict[str, Part]:
    """Parameter name -> its part."""
    return {name: part for part, names in parts(model).items() for name in names}


def candidates(model: nn.Module) -> dict[str, Part]:
    """The weights a mask may select: matrices of linear and patch (convolution) layers, but not the output head.

    Method step 6: attention, MLP, projector, patch and qkv; norms, biases and embeddings are no candidates.
    """
    owner = part_of(model)
    head = cast(Any, model).get_output_embeddings()
    head_weights = {id(p) for p in head.parameters()} if head is not None else set()
    weights = {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
    }
    return {name: owner[name] for name, w in weights.items() if name in owner and id(w) not in head_weights}
