"""From data sets to a saliency mask (paper, section 3; method steps 1 to 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import transformers
from torch import Tensor

from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig, Part
from mmunlearner.core.cost import Cost, measured
from mmunlearner.core.progress import Progress
from mmunlearner.core.recipes import check, check_value
from mmunlearner.data import Example, Splits
from mmunlearner.errors import DataError, MaskError
from mmunlearner.models import Loaded, candidates
from mmunlearner.option_types import Seed
from mmunlearner.saliency.fisher import (
    Fisher,
    Unit,
    candidate_names,
    fisher_groups,
    load_fisher,
    squared_gradients,
)
from mmunlearner.saliency.mask import Mask, fingerprint, pack_bits

DataSet = Literal["retain", "forget", "text"]
"""In the order in which they are measured: the largest first."""
EPS = 1e-15
_OCTAVES, _BINS = 128, 4096
"""The histogram of ratios goes from 2^-128 to 2^128, with `_BINS` bins for each factor of two."""


def compute(
    encoder: Encoder,
    splits: Splits,
    config: MaskConfig,
    *,
    seed: int = 0,
    data_hashes: Mapping[str, str] | None = None,
    progress: Progress = Progress(),
    store: Path | None = None,
) -> Mask:
    """Compute the saliency mask of `splits` at the model's present weights.

    With a directory `store`, the squared gradients of each data set are files in it: an interrupted pass continues from
    its last checkpoint, and masks that need the same squares share them. They are 32 times as large as the mask; the
    caller removes the directory.

    Raises:
        DataError: a set that the mask needs is empty.
        MaskError: no weight is a candidate, or the weights are quantised.
        TrainingError: a loss is not finite.
    """
    config, seed = check(config), check_value("seed", seed, Seed)
    passes = fisher_passes([config])
    for fisher_pass in passes:
        fisher_pass.groups(splits)  # finds an empty set before any long work starts
    fishers: dict[DataSet, Fisher] = {
        fisher_pass.data: fisher_pass.measure(encoder, splits, progress=progress, store=store) for fisher_pass in passes
    }
    with measured() as cost:
        mask = threshold(encoder.loaded, fishers, config, seed=seed, data_hashes=data_hashes)
    costs = [cost, *(fisher.cost for fisher in fishers.values())]
    return replace(mask, cost=Cost(sum(c.seconds for c in costs), max(c.peak_memory_bytes for c in costs)))


@dataclass(frozen=True)
class FisherPass:
    """One pass over one data set: the Fisher information of the candidate weights of `parts`."""

    data: DataSet
    unit: Unit
    limit: int
    parts: tuple[Part, ...]
    batch: int = 1
    """Questions of a batch, for the unit `batch`."""

    @property
    def name(self) -> str:
        """Name of the stored file; without the parts, since all masks of a run share one pass of a name."""
        return f"{self.data}-{self.unit}{self.batch if self.unit == 'batch' else ''}-{self.limit}"

    def groups(self, splits: Splits) -> list[list[Example]]:
        """Return the groups of questions whose gradients are squared.

        Raises:
            DataError: the set is empty.
        """
        examples: Iterable[Example] = getattr(splits, self.data)
        if not examples:
            raise DataError(f"mask: the {self.data} set is empty")
        return fisher_groups(list(examples), self.unit, self.limit, self.batch)

    def measure(
        self,
        encoder: Encoder,
        splits: Splits,
        *,
        progress: Progress = Progress(),
        store: Path | None = None,
    ) -> Fisher:
        """Compute the Fisher information at the model's present weights, or read it from `store`.

        Raises:
            DataError: the set is empty.
            TrainingError: a loss is not finite.
        """
        path = self.path(store) if store else None
        if path and path.exists():  # another mask of the run has measured it
            return load_fisher(path)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        names = candidate_names(encoder.loaded.model, self.parts)
        with measured() as cost:
            fisher = squared_gradients(
                encoder, self.groups(splits), names, progress=progress, title=f"saliency, {self.data}",
                checkpoint=path.with_suffix(".part") if path else None,
            )  # fmt: skip
        fisher = replace(fisher, cost=cost)
        # Read from the file, layer by layer: the sums in memory are as large as the model.
        return load_fisher(fisher.save(path)) if path else fisher

    def path(self, store: Path) -> Path:
        """Return the pass's file in a directory."""
        return store / f"{self.name}.safetensors"


def fisher_passes(masks: Iterable[MaskConfig]) -> list[FisherPass]:
    """Return the passes that these masks need: beta, density and the random control take no pass of their own.

    The text-only QA protects the language part alone (method step 3), so that only its weights are measured there.
    """
    parts_of: dict[tuple[DataSet, Unit, int, int], set[Part]] = {}
    for mask in masks:
        batch = mask.batch if mask.unit == "batch" else 1
        for data in get_args(DataSet):
            parts = set(mask.parts) & ({"language"} if data == "text" else set(get_args(Part)))
            if parts:
                parts_of.setdefault((data, mask.unit, mask.limit, batch), set()).update(parts)
    return [
        FisherPass(data, unit, limit, tuple(part for part in get_args(Part) if part in parts), batch)
        for (data, unit, limit, batch), parts in parts_of.items()
    ]


def threshold(
    loaded: Loaded,
    fishers: Mapping[DataSet, Fisher],
    config: MaskConfig,
    *,
    seed: int = 0,
    data_hashes: Mapping[str, str] | None = None,
) -> Mask:
    """Make a mask from the Fisher information of its data sets, one layer in memory at a time.

    T is the forget VQA. P is the retain VQA, and for the language part the text-only QA as well, the targets' own
    included: that is what protects their textual knowledge. Squares of parts that the mask does not have are ignored.

    Raises:
        MaskError: no weight is a candidate.
    """
    model, owner = loaded.model, candidates(loaded.model)
    names = candidate_names(model, config.parts)
    if not names:
        raise MaskError(f"no linear weight lies in {', '.join(config.parts)}: the mask would act on nothing")
    forget, retain = fishers["forget"], fishers["retain"]
    text = fishers["text"] if "language" in config.parts else Fisher({}, 0)
    beta = config.beta
    if config.density and not config.per_layer:
        pairs = ((forget.squares[name], _preserved(retain, text, name)) for name in names)
        beta = beta_for_density(pairs, config.density)
    assert beta is not None  # MaskConfig has made a number of it
    # Of the sorted names, so that the control does not depend on the order in which a model lists its weights.
    seeds = {name: seed + 7919 * rank for rank, name in enumerate(sorted(names))}
    bits, layers = {}, []
    for name in names:
        squares, preserved = forget.squares[name], _preserved(retain, text, name)
        own = config.density if config.per_layer else 0.0
        selected = select(squares, preserved, beta_for_density([(squares, preserved)], own) if own else beta)
        if config.random:  # the control: as many weights of each layer, but not those
            selected = random_selection(selected, seeds[name])
        bits[name] = pack_bits(selected).cpu()
        layers.append(
            {
                "name": name,
                "part": owner[name],
                "selected": int(selected.sum()),
                "candidates": selected.numel(),
                "saliency_forget": squares.mean().item(),
                "saliency_preserve": preserved.mean().item(),
                "saliency_selected": (squares * selected).mean().item(),
            }
        )
    weights = dict(model.named_parameters())
    # A directory is recorded by its name: its place on this machine means nothing to a reader, and the fingerprint
    # identifies the model.
    source = Path(loaded.source).name if Path(loaded.source).is_dir() else loaded.source
    info = {
        **asdict(config),
        "parts": list(config.parts),
        "beta": beta,
        "source": source,
        "transformers": transformers.__version__,
        "data": dict(data_hashes or {}),
        "units": {"forget": forget.units, "retain": retain.units, "text": text.units},
        "fingerprint": fingerprint(model),
        "layers": layers,
    }
    return Mask(bits, {name: tuple(weights[name].shape) for name in names}, info)


def _preserved(retain: Fisher, text: Fisher, name: str) -> Tensor:
    """Return the mean over the union of both sets; texts count only where they were measured, in the language part."""
    if name not in text.squares:
        return retain.squares[name]
    total = retain.units + text.units
    return (retain.squares[name] * retain.units + text.squares[name] * text.units) / total


def select(forget: Tensor, preserve: Tensor, beta: float) -> Tensor:
    """Return m = 1[(S_T + eps) / (S_P + eps) >= beta] (method step 2)."""
    return forget - beta * preserve >= (beta - 1) * EPS  # without the division, which loses digits near zero


def beta_for_density(pairs: Iterable[tuple[Tensor, Tensor]], density: float) -> float:
    """Return the beta that selects `density` of all weights: a quantile of (S_T + eps) / (S_P + eps) over all layers.

    `pairs` yields each layer's squares (S_T, S_P).
    """
    # A histogram of the ratio's logarithm, since only one pair is alive at a time. Its bins are so narrow (1.7e-4 of
    # the ratio) that only ties can select more.
    counts = torch.zeros(2 * _OCTAVES * _BINS, dtype=torch.long)
    for forget, preserve in pairs:
        # In float64, so that rounding moves next to no ratio over the edge of a bin.
        ratio = (forget.double() + EPS).log2() - (preserve.double() + EPS).log2()
        bins = ((ratio.flatten() + _OCTAVES) * _BINS).long().clamp(0, len(counts) - 1)
        counts += bins.cpu().bincount(minlength=len(counts))
    above = counts.flip(0).cumsum(0)  # [i]: weights in the highest i + 1 bins
    enough = int((above < density * int(counts.sum())).sum())
    return 2.0 ** ((len(counts) - 1 - enough) / _BINS - _OCTAVES)


def random_selection(like: Tensor, seed: int) -> Tensor:
    """Select as many weights of a layer as `like` does, at random: the control of the saliency mask."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(like.numel(), generator=generator)[: int(like.sum())]
    flat = torch.zeros(like.numel(), dtype=torch.bool)
    flat[order] = True
    return flat.view(like.shape)


def statistics(mask: Mask) -> dict[str, Any]:
    """Return what the report shows of a mask: density by part and layer, mean saliencies."""
    layers = mask.info["layers"]
    by_part = {
        part: {key: sum(layer[key] for layer in layers if layer["part"] == part) for key in ("selected", "candidates")}
        for part in mask.info["parts"]
    }
    settings = {key: mask.info[key] for key in ("beta", "unit", "random", "parts", "units", "source")}
    shares = {"density": mask.density, "forget_share": mask.forget_share}
    return {**settings, **shares, "parts_density": by_part, "layers": layers}
