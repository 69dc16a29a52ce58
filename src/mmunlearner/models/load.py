"""Loads and saves any vision-language model of transformers, by its own classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin
from transformers.utils import logging as transformers_logging

from mmunlearner.config import Attention, DType, Quantize
from mmunlearner.core.files import staged_dir
from mmunlearner.core.recipes import check_value
from mmunlearner.errors import ConfigError, ModelError, reason
from mmunlearner.models.adapters import merge_adapter
from mmunlearner.models.attention import use_blockwise_sdpa
from mmunlearner.models.checkpoint import check_kind, load_weights
from mmunlearner.models.processor import load_processor
from mmunlearner.models.quantization import keep_differentiable, quantization_config
from mmunlearner.models.sources import find_sources


@dataclass(frozen=True)
class Loaded:
    """A model with its processor, and the source of both."""

    model: PreTrainedModel = field(repr=False)
    processor: ProcessorMixin = field(repr=False)
    source: str
    unquantized: Callable[[], Loaded] | None = field(default=None, repr=False)
    """Loads the same model with whole weights, on the CPU; None where these are whole already."""
    compute_dtype: str = ""
    """Number format that forward passes compute in; empty: that of the weights."""

    def autocast(self) -> torch.autocast:
        """Return the context in which a forward pass computes as training does (accelerate's mixed precision)."""
        device = input_device(self.model).type
        return torch.autocast(device, torch.bfloat16, enabled=self.compute_dtype == "bfloat16")


def load(
    source: str | Path,
    *,
    dtype: str = "float32",
    device: str = "auto",
    device_map: str | Mapping[str, Any] = "",
    quantize: Quantize = "none",
    compute_dtype: str = "",
    attention: Attention = "auto",
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a model and its processor from a directory, a hub id or `people:vanilla`, in eval mode.

    An adapter of peft is merged into the base that it names. Only safetensors are read; a checkpoint that would have to
    be unpickled is refused. `dtype` is that of the weights, or with `quantize` of those that are not quantised;
    evaluation and training's references compute in `compute_dtype` (empty: in `dtype`), and so do quantised weights. A
    `device_map` is transformers' own: `auto`..., or module -> device. `attention` is that of the language model.

    Raises:
        ConfigError: a device and a map of devices are asked for; flex attention without a GPU; or weights of few bits
            for a model with an adapter.
        ModelError: there is no model at `source` that can be loaded, it is no image-text-to-text model, or it lacks
            weights (`load_weights`).
    """
    check_value("dtype", dtype, DType)
    check_value("compute_dtype", compute_dtype or dtype, DType)
    check_value("quantize", quantize, Quantize)
    check_value("attention", attention, Attention)
    sources = find_sources(source)
    transformers_logging.disable_progress_bar()  # long steps show their own
    target = check_placement(device, device_map, attention)
    if sources.adapter and quantize != "none":
        raise ConfigError(
            f"model.quantize {quantize}: {source} is an adapter, which such weights would round to their few "
            "levels; load it without, and save the whole model (mmunlearner.models.save)"
        )
    options: dict[str, Any] = {"device_map": device_map} if device_map else {}
    quantization = quantization_config(quantize, compute_dtype or dtype)
    if quantization:  # bitsandbytes quantises on the way to the device: loaded first and moved later is no option
        options = {"device_map": {"": target}, **options, "quantization_config": quantization}
    if attention != "auto":
        options["attn_implementation"] = {"text_config": attention}
    check_kind(sources.weights)
    processor = load_processor(sources, trust_remote_code=trust_remote_code)
    model = load_weights(
        AutoModelForImageTextToText, sources.weights, dtype=getattr(torch, dtype), trust_remote_code=trust_remote_code,
        **options,
    )  # fmt: skip
    if "device_map" not in options:
        model.to(target)  # pyright: ignore[reportArgumentType] (transformers hides its signature)
    if sources.adapter:
        check_not_offloaded(model, "merging an adapter")
        model = merge_adapter(model, sources.adapter)
    # Only where nothing was asked for: a chosen implementation stays what it is.
    if attention == "auto":
        use_blockwise_sdpa(model)
    keep_differentiable(model)
    unquantized = partial(load, source, dtype=dtype, device="cpu", trust_remote_code=trust_remote_code)
    return Loaded(model.eval(), processor, str(source), unquantized if quantization else None, compute_dtype)


def check_placement(device: str, device_map: str | Mapping[str, Any], attention: Attention) -> torch.device:
    """Return the device that a model goes to.

    Raises:
        ConfigError: a device and a map of devices are asked for; or flex attention without a GPU.
        ModelError: the device is unknown or not there.
    """
    if device_map and device != "auto":
        raise ConfigError(
            f"model.device {device}: model.device_map {device_map} chooses devices; leave one of them out"
        )
    target = pick_device(device)
    if attention == "flex_attention" and target.type == "cpu":
        raise ConfigError("model.attention flex_attention: it has no gradient on a cpu; use auto")
    return target


def pick_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is the first accelerator, or the CPU.

    Raises:
        ModelError: the device is unknown or not there.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a name alone is accepted for hardware that is not there
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # the last: `meta` holds no numbers
        raise ModelError(f"device {name}: not available here ({reason(error)}); use auto or cpu") from None
    return device


def input_device(model: nn.Module) -> torch.device:
    """Return the device that a model's inputs go to.

    Where a model is spread over devices, this is the device of the first weights that are not offloaded.
    """
    # accelerate's hooks move the activations on from there.
    return next((p.device for p in model.parameters() if p.device.type != "meta"), torch.device("cpu"))


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let a module run another function in place of its forward pass within the block."""
    # Where accelerate spreads layers over devices, it has put a forward pass of its own on the instance.
    instance_forward = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if instance_forward is not None:
            module.forward = instance_forward


def fetch_weight(model: nn.Module, name: str) -> Tensor:
    """Return one of a model's weights, from disk or the host where it is offloaded to."""
    path, _, attribute = name.rpartition(".")
    with align_module_device(module := model.get_submodule(path)):
        return getattr(module, attribute).detach()


def check_not_offloaded(model: nn.Module, task: str) -> None:
    """Refuse to differentiate a model with offloaded layers.

    Raises:
        ModelError: weights lie on disk, or on the CPU until they are needed.
    """
    offloaded = {name.rpartition(".")[0] for name, p in model.named_parameters() if p.device.type == "meta"}
    if offloaded:
        raise ModelError(
            f"model.device_map: {len(offloaded)} layers did not fit on the devices and are offloaded "
            f"({min(offloaded)}...), where {task} cannot differentiate them; take more or larger devices, "
            "model.weights bfloat16, or model.quantize with adapters"
        )


def save(loaded: Loaded, directory: Path | str, *, extra: Mapping[str, str] | None = None) -> Path:
    """Write model, processor and `extra` text files as an ordinary model directory, whole or not at all."""
    directory = Path(directory)
    with staged_dir(directory) as stage:
        loaded.model.save_pretrained(stage)
        loaded.processor.save_pretrained(stage)
        for name, text in (extra or {}).items():
            (stage / name).write_text(text, encoding="utf-8")
    return directory


def end_token_ids(loaded: Loaded) -> frozenset[int]:
    """Return the tokens that end an answer: the tokenizer's, and those that the generation config adds.

    Raises:
        ModelError: one of them is no number of a token.
    """
    ids: Any = loaded.model.generation_config.eos_token_id if loaded.model.generation_config else None
    listed = ids if isinstance(ids, list) else [ids]
    tokenizer: Any = getattr(loaded.processor, "tokenizer", None)
    ends = [end for end in [*listed, tokenizer.eos_token_id] if end is not None]
    if wrong := [end for end in ends if type(end) is not int]:
        raise ModelError(
            f"model {loaded.source}: eos_token_id {wrong[0]!r}: no number of a token; mend its generation_config.json"
        )
    return frozenset(ends)


def longest_row(loaded: Loaded) -> int | None:
    """Return how many tokens the model takes in a row; None if its config does not say."""
    return getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
