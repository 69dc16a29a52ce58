"""Loading and saving any vision-language model of transformers, by its own classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin
from transformers.utils import logging as transformers_logging

from mmunlearner.errors import ModelError, reason
from mmunlearner.files import staged_dir
from mmunlearner.models.processor import load_processor

SHIPPED = "people:"
"""Prefix of the names of the models that the package ships: `people:vanilla`, `people:oracle`."""


@dataclass(frozen=True)
class Loaded:
    """A model, what prepares its inputs, and where both came from."""

    model: PreTrainedModel = field(repr=False)
    processor: ProcessorMixin = field(repr=False)
    source: str


def load(
    source: str | Path, *, dtype: str = "float32", device: str = "auto", trust_remote_code: bool = False
) -> Loaded:
    """Load a model and its processor from a directory or a hub id, in eval mode.

    Only safetensors are read; a checkpoint that would have to be unpickled is refused.

    Raises:
        ModelError: nothing loadable is at `source`, or it is no image-text-to-text model.
    """
    name = str(source)
    if not name:
        raise ModelError("no model given: name a directory or a hub id (model.vanilla)")
    transformers_logging.disable_progress_bar()  # long steps show their own
    if name.startswith(SHIPPED):
        name = str(_shipped(name.removeprefix(SHIPPED)))
    looks_local = name.startswith(("/", ".", "~")) or name.count("/") > 1
    if looks_local and not Path(name).expanduser().is_dir():
        raise ModelError(f"model {name}: no such directory")
    try:
        processor = load_processor(name, trust_remote_code=trust_remote_code)
        model = AutoModelForImageTextToText.from_pretrained(
            name, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"model {name}: cannot be loaded ({reason(error)})") from None
    model.to(pick_device(device))  # pyright: ignore[reportArgumentType] (transformers hides its signature)
    return Loaded(model.eval(), processor, str(source))


def _shipped(name: str) -> Path:
    """The models of the embedded benchmark, which come with the package."""
    from mmunlearner.people import assets

    known = {"vanilla": assets.vanilla_dir, "oracle": assets.oracle_dir}
    if name not in known:
        raise ModelError(f"model {SHIPPED}{name}: the package ships {', '.join(SHIPPED + n for n in known)}")
    return Path(known[name]())


def pick_device(name: str) -> torch.device:
    """`auto` is the first accelerator, or the CPU.

    Raises:
        ModelError: the device is unknown or not there.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {name}: not available here ({reason(error)}); use auto or cpu") from None
    return device


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
    """Tokens that end an answer: the tokenizer's, and those the generation config adds."""
    ids: Any = loaded.model.generation_config.eos_token_id if loaded.model.generation_config else None
    listed = ids if isinstance(ids, list) else [ids]
    tokenizer: Any = getattr(loaded.processor, "tokenizer", None)
    return frozenset(i for i in [*listed, tokenizer.eos_token_id] if i is not None)
