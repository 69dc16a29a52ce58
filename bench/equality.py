"""Whether both sides compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from bench import model, ours, published, setting
from mmunlearner.data import Example
from mmunlearner.evaluate.metrics import accuracy
from mmunlearner.evaluate.scores import mean_score
from mmunlearner.models import Loaded
from mmunlearner.saliency import fisher_groups, load

ROUNDING = 1e-3
"""Difference of two saliencies within which their order is rounding's, relative to `scale`."""


def masks(folder: Path) -> dict[str, Any]:
    """Bits that differ, and how many of them where the saliencies differ by more than rounding."""
    mask = load(folder / "ours.safetensors")
    differing, beyond = 0, 0
    with safe_open(folder / "published.safetensors", framework="pt") as file:
        for name in mask.bits:
            theirs, forget, preserve = (file.get_tensor(f"{kind}.{name}") for kind in ("mask", "forget", "preserve"))
            differs = theirs.bool() != mask.of(name)
            apart = (forget - preserve).abs() > ROUNDING * scale(forget + preserve)
            differing += int(differs.sum())
            beyond += int((differs & apart).sum())
    return {"bits": mask.size, "bits_differing": differing, "beyond_rounding": beyond, "density": mask.density}


def scale(saliency: torch.Tensor) -> torch.Tensor:
    """What rounding is relative to: a gradient's error is that of the terms which cancel in it, as large as its layer's
    gradients are, so that a square s much smaller than the layer's mean is known to sqrt(s * mean) only.
    """
    return torch.maximum(saliency, (saliency * saliency.mean()).sqrt())


def gradients(loaded: Loaded, examples: tuple[Example, ...]) -> dict[str, float]:
    """Relative difference of one image's loss, and of the gradients of all weights (2-norm)."""
    group = fisher_groups(examples, "image")[0]
    setting.attend(loaded, "published")
    theirs, plain = published.gradients(loaded, group), _gradients(loaded)
    setting.attend(loaded, "ours")
    mine, shared = ours.gradients(loaded, group), _gradients(loaded)
    loaded.model.zero_grad()
    apart = sum(float((gradient - shared[name]).pow(2).sum()) for name, gradient in plain.items())
    size = sum(float(gradient.pow(2).sum()) for gradient in plain.values())
    return {"loss": abs(mine - theirs) / abs(theirs), "gradients": (apart / size) ** 0.5}


def _untaught(folder: Path) -> Loaded:
    """The model as it was before it knew anybody: losses of what is known by heart are mere rounding."""
    config: Any = setting.loaded(folder, "published").model.config
    return model.build(layers=config.text_config.num_hidden_layers, side=config.vision_config.image_size)


def _gradients(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: p.grad.double() for name, p in loaded.model.named_parameters() if p.grad is not None}


def answers(folder: Path, ours: str = "ours") -> dict[str, Any]:
    """Items whose answers are the same to the letter, and the accuracy of each column on either side."""
    theirs, mine = (json.loads((folder / f"{side}.answers.json").read_text()) for side in ("published", ours))
    said = [{line["id"] + column: line["output"] for column in x for line in x[column]} for x in (theirs, mine)]
    scores = [
        {c: mean_score([accuracy(i) for i in x[c]], [i["entity"] for i in x[c]]).value for c in sorted(x)}
        for x in (theirs, mine)
    ]
    return {
        "items": len(said[0]),
        "same_answers": sum(said[1].get(key) == text for key, text in said[0].items()),
        "same_scores": scores[0] == scores[1],
        "accuracy": scores[1],
    }


def check(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    found = gradients(_untaught(folder), setting.splits(folder).forget)
    return {
        "saliency": masks(folder),
        "epoch": found,
        "evaluation": answers(folder),
        "candidates": answers(folder, "candidates"),
    }
