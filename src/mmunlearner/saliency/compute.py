"""From questions to a mask (paper, section 3; method steps 1 to 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig
from mmunlearner.data import Splits
from mmunlearner.models import Loaded
from mmunlearner.saliency import mask as masks
from mmunlearner.saliency.fisher import Fisher, Progress, candidate_names
from mmunlearner.saliency.mask import Mask
from mmunlearner.saliency.passes import DataSet, passes

EPS = 1e-15
_OCTAVES, _BINS = 128, 4096
"""Ratios between 2^-128 and 2^128 are told apart, in so many steps for each factor of two."""


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
    """The saliency mask of `splits` at the model's present weights: every pass that it takes, then the cut.

    With `checkpoint`, an interrupted pass goes on from what it kept beside that path.

    Raises:
        DataError: a set that the mask needs is empty.
        MaskError: no weight is a candidate.
        TrainingError: a loss is not finite.
    """
    measured: dict[DataSet, Fisher] = {}
    for each in passes([config]):
        beside = checkpoint.with_name(f".{checkpoint.name}.{each.name}.part") if checkpoint else None
        measured[each.data] = each.measure(encoder, splits, progress=progress, checkpoint=beside)
    return cut(encoder.loaded, measured, config, seed=seed, data_hashes=data_hashes)


def cut(
    loaded: Loaded,
    measured: Mapping[DataSet, Fisher],
    config: MaskConfig,
    *,
    seed: int = 0,
    data_hashes: Mapping[str, str] | None = None,
) -> Mask:
    """The mask that squares of these sets make, layer by layer; squares of parts that it has not are passed over.

    T is the forget VQA. P is the retain VQA, and for the language part the text-only QA as well, the targets' own
    included: that is what protects their textual knowledge.

    Raises:
        MaskError: no weight is a candidate.
    """
    nothing = Fisher({}, 0)
    forget, retain = measured["forget"], measured["retain"]
    text = measured["text"] if "language" in config.parts else nothing
    names = candidate_names(loaded.model, config.parts)
    ranks = {name: rank for rank, name in enumerate(sorted(names))}
    pairs = ((forget.squares[name], _pooled(retain, text, name)) for name in names)
    beta = beta_of(pairs, config.density) if config.density else config.beta
    means: dict[str, dict[str, float]] = {}

    def choose(name: str) -> Tensor:
        squares, preserve = forget.squares[name], _pooled(retain, text, name)
        means[name] = {"saliency_forget": squares.mean().item(), "saliency_preserve": preserve.mean().item()}
        selected = select(squares, preserve, beta)
        return at_random(selected, seed + 7919 * ranks[name]) if config.random else selected

    source = loaded.source
    made = masks.build(
        loaded.model,
        choose,
        config.parts,
        {
            **asdict(config),
            "beta": beta,
            # A directory by its name alone: where it stands is of no account, the fingerprint says which model it is.
            "source": Path(source).name if Path(source).is_dir() else source,
            "transformers": transformers.__version__,
            "data": dict(data_hashes or {}),
            "units": {"forget": forget.units, "retain": retain.units, "text": text.units},
        },
    )
    layers = [{**layer, **means[layer["name"]]} for layer in made.info["layers"]]
    return Mask(made.bits, made.shapes, {**made.info, "layers": layers})


def _pooled(retain: Fisher, text: Fisher, name: str) -> Tensor:
    """Mean over the union of both sets; texts count only where they were measured, in the language part."""
    if name not in text.squares:
        return retain.squares[name]
    total = retain.units + text.units
    return (retain.squares[name] * retain.units + text.squares[name] * text.units) / total


def select(forget: Tensor, preserve: Tensor, beta: float) -> Tensor:
    """m = 1[(S_T + eps) / (S_P + eps) >= beta], written without the division (method step 2)."""
    return forget - beta * preserve >= (beta - 1) * EPS


def beta_of(pairs: Iterable[tuple[Tensor, Tensor]], density: float) -> float:
    """The beta that selects `density` of all weights: a quantile of (S_T + eps) / (S_P + eps) over all layers.

    By a histogram of its logarithm, for which one layer's squares (S_T, S_P) are alive at a time; bins are so narrow
    (1.7e-4 of the ratio) that only ties can select more than was asked for.
    """
    counts = torch.zeros(2 * _OCTAVES * _BINS, dtype=torch.long)
    for forget, preserve in pairs:
        ratio = (forget.double() + EPS).log2() - (preserve.double() + EPS).log2()
        bins = ((ratio.flatten() + _OCTAVES) * _BINS).long().clamp(0, len(counts) - 1)
        counts += bins.cpu().bincount(minlength=len(counts))
    above = counts.flip(0).cumsum(0)  # [i]: in the highest i + 1 bins
    enough = int((above < density * int(counts.sum())).sum())
    return 2.0 ** ((len(counts) - 1 - enough) / _BINS - _OCTAVES)


def at_random(like: Tensor, seed: int) -> Tensor:
    """Control: as many weights of a layer, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(like.numel(), generator=generator)[: int(like.sum())]
    flat = torch.zeros(like.numel(), dtype=torch.bool)
    flat[order] = True
    return flat.view(like.shape)


def statistics(made: Mask) -> dict[str, Any]:
    """What the report shows of a mask: density by part and layer, mean saliencies."""
    layers = made.info["layers"]
    by_part = {
        part: {key: sum(layer[key] for layer in layers if layer["part"] == part) for key in ("selected", "candidates")}
        for part in made.info["parts"]
    }
    kept = {key: made.info[key] for key in ("beta", "unit", "random", "parts", "units", "source")}
    return {**kept, "density": made.density, "parts_density": by_part, "layers": layers}
