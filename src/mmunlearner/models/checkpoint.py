"""Weights of a checkpoint: all of them are read, or the checkpoint is refused.

transformers fills weights that a checkpoint lacks with random numbers and goes on. A model that lost its projector that
way answers as one that has forgotten everything.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForImageTextToText, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
)

from mmunlearner.core.names import listed
from mmunlearner.errors import ModelError
from mmunlearner.models.files import check_files, read_named_values, reading
from mmunlearner.models.sources import find_sources

_log = logging.getLogger(__name__)
DAMAGED = "download or copy it again, or take the config.json that belongs to these weights"


def load_weights(kind: Any, name: str, **options: Any) -> PreTrainedModel:
    """Load a model by its class, or by an auto class, with each of its weights from the checkpoint `name`.

    `name` is a directory or a hub id of whole weights, `options` are those of `from_pretrained`. Tensors that the model
    has no place for are named in the log.

    Raises:
        ModelError: it cannot be loaded, lacks weights, has some of other shapes or some that are not finite numbers, or
            has layers that its configuration leaves out.
    """
    check_weights(name, kind=kind, trust_remote_code=options.get("trust_remote_code", False))
    with reading(name):
        model, info = kind.from_pretrained(name, use_safetensors=True, output_loading_info=True, **options)
    _check_info(name, model, info)  # again: what is quantised on the way goes by other names
    # Their scores would be those of perfect forgetting. Weights of few bits are no floating-point numbers.
    for weight_name, weight in model.named_parameters():
        readable = weight.is_floating_point() and weight.device.type != "meta" and weight.numel()
        if readable and not all(bound.isfinite() for bound in torch.aminmax(weight.detach())):
            raise ModelError(f"model {name}: {weight_name} has entries that are not finite numbers; {DAMAGED}")
    return model


def check_kind(name: str) -> None:
    """Refuse a directory whose model reads no images; what else is wrong with it is told by the checks that follow.

    Raises:
        ModelError: it is a language model alone.
    """
    values: dict[str, Any] = {}
    with suppress(ModelError):
        values = read_named_values(Path(name) / "config.json")
    kind = values.get("model_type")
    config: Any = CONFIG_MAPPING[kind] if isinstance(kind, str) and kind in CONFIG_MAPPING else None
    words_alone = config in MODEL_FOR_CAUSAL_LM_MAPPING and config not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    if words_alone and "auto_map" not in values:  # else the model comes with code of its own
        raise ModelError(
            f"model {name}: {kind} is a language model without a vision part; name a vision-language model "
            "(docs/families.md)"
        )


def check_whole(source: str | Path) -> None:
    """Refuse a model that another program could not read whole from its directory.

    Of a model that transformers does not know, nothing but adapters can be told.

    Raises:
        ModelError: it is an adapter, or as `check_weights`.
    """
    sources = find_sources(source)
    if sources.adapter:
        raise ModelError(
            f"model {source}: is an adapter, which has to be merged first; load it and save the whole model "
            "(mmunlearner.models.save)"
        )
    if read_named_values(Path(sources.weights) / "config.json").get("model_type") in CONFIG_MAPPING:
        check_weights(sources.weights)


def check_weights(
    name: str, *, kind: Any = AutoModelForImageTextToText, trust_remote_code: bool = False
) -> PreTrainedModel | None:
    """Compare names and shapes of a checkpoint's weights with those of its model, without reading the weights.

    Returns the model on the meta device; None for a checkpoint that is quantised, which is compared when it is loaded.

    Raises:
        ModelError: as `load_weights`, except for the numbers themselves.
    """
    check_files(name)
    with reading(name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        if getattr(config, "quantization_config", None):
            return None
        model, info = kind.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True,
            device_map={"": "meta"}, trust_remote_code=trust_remote_code,
        )  # fmt: skip
    _check_info(name, model, info)
    return model


def _check_info(name: str, model: nn.Module, info: Mapping[str, Any]) -> None:
    """Refuse a model by transformers' report of its loading, in which tied weights do not count as missing."""
    # Counters and positions, which some checkpoints hold and others do not, are set when the model is made.
    integer_buffers = {n for n, buffer in model.named_buffers() if not buffer.is_floating_point()}
    missing = sorted(set(info["missing_keys"]) - integer_buffers)
    unexpected = sorted(info["unexpected_keys"])
    if info["mismatched_keys"]:
        weight, there, here = min(info["mismatched_keys"])
        raise ModelError(
            f"model {name}: {weight} is {tuple(there)} there, and {tuple(here)} by its config.json "
            f"({len(info['mismatched_keys'])} such weights); {DAMAGED}"
        )
    if missing:
        other = f", and has {listed(unexpected, 2)}, which the model has not" if unexpected else ""
        raise ModelError(f"model {name}: lacks {len(missing)} of its weights ({listed(missing, 2)}){other}; {DAMAGED}")
    stacks = tuple(f"{n}." for n, module in model.named_modules() if isinstance(module, nn.ModuleList))
    left_out = [n for n in unexpected if n.startswith(stacks)]
    if left_out:
        raise ModelError(
            f"model {name}: has {len(left_out)} weights of layers that its config.json leaves out "
            f"({listed(left_out, 2)}); {DAMAGED}"
        )
    if unexpected:
        _log.warning("model %s: %d of its tensors are not used (%s)", name, len(unexpected), listed(unexpected, 2))
