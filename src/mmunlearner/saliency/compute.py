"""From questions to a mask (paper, section 3; method steps 1 to 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig
from mmunlearner.data import Example, Splits
from mmunlearner.errors import DataError
from mmunlearner.saliency import mask as masks
from mmunlearner.saliency.gradients import Fisher, Progress, candidate_names, fisher, units
from mmunlearner.saliency.mask import Mask

EPS = 1e-15


def compute(
    encoder: Encoder,
    splits: Splits,
    config: MaskConfig,
    *,
    seed: int = 0,
    data_hashes: Mapping[str, str] | None = None,
    progress: Progress = lambda groups, _: groups,
    checkpoint: Path | None = None,
) -> Mask:
    """The saliency mask of `splits` at the model's present weights.

    T is the forget VQA. P is the retain VQA, and for the language part the text-only QA as well, the targets' own
    included: that is what protects their textual knowledge.

    Raises:
        DataError: a set that the mask needs is empty.
        MaskError: no weight is a candidate.
    """
    model, source = encoder.loaded.model, encoder.loaded.source
    names = candidate_names(model, config.parts)
    language = candidate_names(model, ["language"]) if "language" in config.parts else []

    def measure(key: str, examples: Sequence[Example], of: Sequence[str]) -> Fisher:
        if not examples:
            raise DataError(f"mask: the {key} set is empty")
        groups = units(examples, config.unit, config.limit)
        beside = checkpoint.with_name(f".{checkpoint.name}.{key}.part") if checkpoint else None
        return fisher(encoder, groups, of, progress=progress, title=f"saliency, {key}", checkpoint=beside)

    forget = measure("forget", splits.forget, names)
    retain = measure("retain", splits.retain, names)
    text = measure("text", splits.text, language) if language else Fisher({}, 0)
    preserve = {name: _pooled(retain, text, name) for name in names}
    chosen = {name: select(forget.squares[name], preserve[name], config.beta) for name in names}
    made = masks.build(
        model,
        random_choice(chosen, seed) if config.random else chosen.__getitem__,
        config.parts,
        {
            **asdict(config),
            # A directory by its name alone: where it stands is of no account, the fingerprint says which model it is.
            "source": Path(source).name if Path(source).is_dir() else source,
            "transformers": transformers.__version__,
            "data": dict(data_hashes or {}),
            "units": {"forget": forget.units, "retain": retain.units, "text": text.units},
        },
    )
    return _with_means(made, forget.squares, preserve)


def _pooled(retain: Fisher, text: Fisher, name: str) -> Tensor:
    """Mean over the union of both sets; texts count only where they were measured, in the language part."""
    if name not in text.squares:
        return retain.squares[name]
    total = retain.units + text.units
    return (retain.squares[name] * retain.units + text.squares[name] * text.units) / total


def select(forget: Tensor, preserve: Tensor, beta: float) -> Tensor:
    """m = 1[(S_T + eps) / (S_P + eps) >= beta], written without the division (method step 2)."""
    return forget - beta * preserve >= (beta - 1) * EPS


def random_choice(chosen: Mapping[str, Tensor], seed: int) -> Callable[[str], Tensor]:
    """Control: as many weights of each layer, drawn at random."""

    def choose(name: str) -> Tensor:
        like = chosen[name]
        generator = torch.Generator().manual_seed(seed + 7919 * sorted(chosen).index(name))
        order = torch.randperm(like.numel(), generator=generator)[: int(like.sum())]
        flat = torch.zeros(like.numel(), dtype=torch.bool)
        flat[order] = True
        return flat.view(like.shape)

    return choose


def _with_means(made: Mask, forget: Mapping[str, Tensor], preserve: Mapping[str, Tensor]) -> Mask:
    layers = [
        {
            **layer,
            "saliency_forget": forget[layer["name"]].mean().item(),
            "saliency_preserve": preserve[layer["name"]].mean().item(),
        }
        for layer in made.info["layers"]
    ]
    return Mask(made.bits, made.shapes, {**made.info, "layers": layers})


def statistics(made: Mask) -> dict[str, Any]:
    """What the report shows of a mask: density by part and layer, mean saliencies."""
    layers = made.info["layers"]
    by_part = {
        part: {key: sum(layer[key] for layer in layers if layer["part"] == part) for key in ("selected", "candidates")}
        for part in made.info["parts"]
    }
    kept = {key: made.info[key] for key in ("beta", "unit", "random", "parts", "units", "source")}
    return {**kept, "density": made.density, "parts_density": by_part, "layers": layers}
