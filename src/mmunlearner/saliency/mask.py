"""The mask and its file: one bit per weight, and the facts by which a mask refuses a model that it was not made for."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from mmunlearner.config import DENSITY, MaskConfig
from mmunlearner.core.cost import Cost
from mmunlearner.core.files import parse_json, write_bytes
from mmunlearner.core.recipes import build
from mmunlearner.errors import MaskError, reason
from mmunlearner.models import candidates
from mmunlearner.saliency.mask_content import OPTIONS, check_content, checksum

_log = logging.getLogger(__name__)
FORMAT = "mmunlearner-mask-1"
HARDLY_WEIGHTS, HARDLY_SALIENCY = 0.05, 0.2
"""Shares of the candidates, and of the forget set's saliency, below which a mask is said to leave hardly anything."""
MAKE_AGAIN = "make it again with `mmunlearner mask`"


def sparse_warning(density: float, forget_share: float | None) -> str:
    """Return a sentence on a mask of these shares (`Mask.density`, `Mask.forget_share`); empty if it is not sparse."""
    if density >= HARDLY_WEIGHTS and (forget_share is None or forget_share >= HARDLY_SALIENCY):
        return ""
    saliency = "" if forget_share is None else f", with {forget_share:.1%} of what the forget set's loss reacts to"
    return (
        f"it selects {density:.1%} of the candidate weights{saliency}: the forget term will hardly change anything; "
        f"set mask.density, e.g. to {DENSITY:g}, in the place of mask.beta"
    )


@dataclass(frozen=True)
class Mask:
    """The weights that the forget term may move."""

    bits: Mapping[str, Tensor]
    """Parameter name -> uint8 [ceil(weights / 8)], least significant bit first."""
    shapes: Mapping[str, tuple[int, ...]]
    info: Mapping[str, Any]
    """Model fingerprint, parts, beta, unit, data hashes, counts and mean saliencies per layer."""
    cost: Cost = field(default_factory=Cost, compare=False)
    """Seconds and memory of computing it; zero for a mask that was read from a file."""

    def of(self, name: str, device: torch.device | str = "cpu") -> Tensor:
        """Unpack the mask of one parameter, bool in its shape."""
        # Moved while it is packed: an eighth of the bytes.
        return unpack_bits(self.bits[name].to(device), self.shapes[name])

    def __contains__(self, name: object) -> bool:
        return name in self.bits

    @property
    def selected(self) -> int:
        return sum(layer["selected"] for layer in self.info["layers"])

    @property
    def size(self) -> int:
        return sum(layer["candidates"] for layer in self.info["layers"])

    @property
    def density(self) -> float:
        """Share of the candidates that are selected."""
        return self.selected / max(self.size, 1)

    @property
    def forget_share(self) -> float | None:
        """Share of the forget set's saliency, the sum of S_forget, at the selected weights; None in earlier masks."""
        layers = self.info["layers"]
        if any("saliency_selected" not in layer for layer in layers):
            return None
        whole = sum(layer["saliency_forget"] * layer["candidates"] for layer in layers)
        return sum(layer["saliency_selected"] * layer["candidates"] for layer in layers) / whole if whole else 0.0

    @property
    def warning(self) -> str:
        """Sentence on a mask that leaves the forget term hardly anything; empty for any other."""
        return sparse_warning(self.density, self.forget_share)

    def save(self, path: Path | str) -> Path:
        """Write the mask to `path` (safetensors), whole or not at all."""
        info = {**self.info, "shapes": {name: list(shape) for name, shape in self.shapes.items()}}
        info["checksum"] = checksum(self.bits, info)
        # One entry: safetensors writes several in another order each time, and equal masks should be equal files.
        return write_bytes(path, to_safetensors(dict(self.bits), metadata={FORMAT: json.dumps(info)}))

    @property
    def config(self) -> MaskConfig:
        """Options that it was made with; with a density, `beta` is what followed from it."""
        return build(MaskConfig, {name: self.info[name] for name in OPTIONS if name in self.info})

    def check_config(self, config: MaskConfig) -> None:
        """Refuse options that this mask was not made with.

        Raises:
            MaskError: an option differs.
        """
        mine, wanted = asdict(self.config), asdict(config)
        for name in OPTIONS:
            follows = name == "beta" and config.density
            if mine[name] != wanted[name] and not follows:
                raise MaskError(f"mask of other options: {name} is {mine[name]} there, {wanted[name]} here")

    def check(self, model: nn.Module) -> None:
        """Refuse a model that this mask was not made for.

        Raises:
            MaskError: names, shapes or weights differ, or nothing is selected.
        """
        self.check_structure(model)
        # A model that was trained since has other gradients: its mask would be another.
        if self.info["fingerprint"] != fingerprint(model):
            raise MaskError("mask of another model: same architecture, other weights; make one with `mmunlearner mask`")

    def check_structure(self, model: nn.Module) -> None:
        """Refuse a model of another architecture; it may be one without weights.

        Raises:
            MaskError: names, parts or shapes differ, or nothing is selected.
        """
        weights = dict(model.named_parameters())
        unknown = [name for name in self.bits if name not in weights]
        if unknown:
            raise MaskError(
                f"mask of another model: it has {unknown[0]} ({len(unknown)} such names), which "
                f"{type(model).__name__} has not; make one with `mmunlearner mask`"
            )
        for name, shape in self.shapes.items():
            if tuple(weights[name].shape) != shape:
                raise MaskError(f"mask of another model: {name} is {shape} there, {tuple(weights[name].shape)} here")
        wanted = {name for name, part in candidates(model).items() if part in self.info["parts"]}
        if self.bits.keys() != wanted:
            odd = min(wanted ^ self.bits.keys())
            raise MaskError(f"mask of another model: {odd} is a candidate weight there or here, not in both")
        if self.selected == 0:
            raise MaskError(f"mask selects none of {self.size} weights: the forget term would act on nothing")


def pack_bits(selected: Tensor) -> Tensor:
    """Pack a bool tensor of any shape into uint8 [ceil(n / 8)], least significant bit first."""
    flat = selected.flatten()
    padded = nn.functional.pad(flat.to(torch.uint8), (0, -flat.numel() % 8)).view(-1, 8)
    # Eight bits of distinct places: their sum is their union, and fits into a byte.
    return (padded << torch.arange(8, dtype=torch.uint8, device=flat.device)).sum(1, dtype=torch.uint8)


def unpack_bits(bits: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the bool tensor of `shape` that `pack_bits` packed."""
    spread = (bits[:, None] >> torch.arange(8, dtype=torch.uint8, device=bits.device)) & 1
    return spread.view(-1)[: torch.Size(shape).numel()].view(shape).bool()


def load(path: Path | str) -> Mask:
    """Read a mask file.

    Raises:
        MaskError: it is missing, is no mask of this package, or was changed since it was written.
    """
    path = Path(path)
    if not path.is_file():
        raise MaskError(f"mask {path}: no such file; make one with `mmunlearner mask`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            bits = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise MaskError(f"mask {path}: cannot be read ({reason(error)}); {MAKE_AGAIN}") from None
    if FORMAT not in metadata:
        raise MaskError(f"mask {path}: is no mask ({FORMAT} expected, {', '.join(metadata) or 'nothing'} found)")
    try:
        info = parse_json(metadata[FORMAT], "metadata")
        check_content(bits, info)
    except ValueError as error:
        raise MaskError(f"mask {path}: {error}; {MAKE_AGAIN}") from None
    if info.pop("checksum", None) is None:
        _log.warning("mask %s: has no checksum, as masks of earlier versions; its counts were compared instead", path)
    # JSON has made lists of them, which equal no tensor's shape.
    shapes = {name: tuple(shape) for name, shape in info.pop("shapes").items()}
    return Mask(bits, shapes, info)


def fingerprint(model: nn.Module) -> str:
    """Return a hash of the candidates' names, shapes and a sample of their values, the same in fp32 and bf16."""
    digest = hashlib.sha256(type(model).__name__.encode())
    weights = dict(model.named_parameters())
    for name in candidates(model):
        flat = weights[name].detach().flatten()
        # A few numbers of each weight are enough, since training moves nearly all; bf16, so that both formats agree.
        sample = flat[:: max(1, flat.numel() // 16)][:16].to("cpu", torch.bfloat16)
        digest.update(f"{name}{tuple(weights[name].shape)}".encode() + sample.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:32]
