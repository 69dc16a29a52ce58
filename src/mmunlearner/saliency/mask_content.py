"""Content of a mask's file, and its validation: every bit and every fact in it, before either is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, NotRequired

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import TypedDict

from mmunlearner.config import MaskConfig, Part
from mmunlearner.core.recipes import build
from mmunlearner.core.validation import FIELDS, InvalidError, WholeNumber, validate
from mmunlearner.errors import ConfigError
from mmunlearner.option_types import NotNegative

OPTIONS = tuple(option.name for option in fields(MaskConfig))
NEWER = frozenset({"per_layer"})
"""Options that masks of earlier versions lack; they were made with the defaults."""
_ONES = torch.tensor([byte.bit_count() for byte in range(256)])


class LayerInfo(TypedDict):
    """One candidate weight."""

    name: str
    part: Part
    selected: WholeNumber
    candidates: WholeNumber
    saliency_forget: NotNegative
    saliency_preserve: NotNegative
    saliency_selected: NotRequired[NotNegative]
    """Mean over all its weights of what S_forget is at the selected ones, and 0 elsewhere; absent in earlier masks."""


class MaskInfo(TypedDict):
    """Origin of a mask, beside its options (`MaskConfig`)."""

    parts: Annotated[list[Part], Field(min_length=1)]
    source: str
    transformers: str
    data: Mapping[str, str]
    units: Mapping[str, WholeNumber]
    fingerprint: str
    layers: list[LayerInfo]
    shapes: Mapping[str, list[WholeNumber]]
    checksum: NotRequired[str]
    """Absent in masks that were written before 2026-11-26."""


def checksum(bits: Mapping[str, Tensor], info: Mapping[str, Any]) -> str:
    """Return a hash of all bits and of all metadata but the checksum itself."""
    content = {name: value for name, value in info.items() if name != "checksum"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in sorted(bits):
        digest.update(name.encode() + bits[name].numpy().tobytes())
    return digest.hexdigest()


def check_content(bits: Mapping[str, Tensor], info: Any) -> None:
    """Refuse bits and metadata that do not belong together.

    Raises:
        ValueError: an entry is missing or of a wrong kind, names, shapes or counts differ, or the checksum does.
    """
    try:
        validate(info, MaskInfo, FIELDS)
        options = build(MaskConfig, {name: info[name] for name in OPTIONS if name in info})
    except (InvalidError, ConfigError) as error:
        raise ValueError(f"metadata: {error}") from None
    if absent := [name for name in OPTIONS if name not in info and name not in NEWER]:
        raise ValueError(f"metadata: no option {absent[0]}")
    if "checksum" in info and checksum(bits, info) != info["checksum"]:
        raise ValueError("its bits or metadata were changed since it was written: the checksum differs")
    layers = {layer["name"]: layer for layer in info["layers"]}
    if not (bits.keys() == info["shapes"].keys() == layers.keys()) or len(layers) < len(info["layers"]):
        raise ValueError("the names of bits, shapes and layers differ")
    for name, layer in layers.items():
        size = torch.Size(info["shapes"][name]).numel()
        packed = bits[name]
        if packed.dtype != torch.uint8 or packed.shape != (-(-size // 8),) or layer["candidates"] != size:
            raise ValueError(f"{name}: has not one bit for each of its {size} weights")
        if size % 8 and int(packed[-1]) >> size % 8:
            raise ValueError(f"{name}: has bits behind its last weight")
        if int(packed.bincount(minlength=256) @ _ONES) != layer["selected"]:
            raise ValueError(f"{name}: does not select the {layer['selected']} weights that its metadata say")
        if layer["part"] not in options.parts:
            raise ValueError(f"{name}: lies in {layer['part']}, which is no part of the mask")
