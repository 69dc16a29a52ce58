"""Comparison of the numbers that both sides compute."""

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
    """Count the bits that differ, and those of them where the saliencies differ by more than rounding."""
    mask = load(folder / "ours.safetensors")
    differing, beyond = 0, 0
    with safe_open(folder / "published.safetensors", framework="pt") as file:
        for name in mask.bits:
            published_bits, forget, preserve = (
                file.get_tensor(f"{kind}.{name}") for kind in ("mask", "forget", "preserve")
            )
            differs = published_bits.bool() != mask.of(name)
            apart = (forget - preserve).abs() > ROUNDING * scale(forget + preserve)
            differing += int(differs.sum())
            beyond += int((differs & apart).sum())
    return {"bits": mask.size, "bits_differing": differing, "beyond_rounding": beyond, "density": mask.density}


def scale(saliency: torch.Tensor) -> torch.Tensor:
    """Return the number that rounding is relative to.

    A gradient's error is that of the terms which cancel in it, as large as its layer's gradients are, so that a square
    s much smaller than the layer's mean is known to sqrt(s * mean) only.
    """
    return torch.maximum(saliency, (saliency * saliency.mean()).sqrt())


def gradients(loaded: Loaded, examples: tuple[Example, ...]) -> dict[str, float]:
    """Return the relative difference of one image's loss, and of the gradients of all weights (2-norm)."""
    group = fisher_groups(examples, "image")[0]
    setting.attend(loaded, "published")
    published_loss, published_gradients = published.gradients(loaded, group), _gradients(loaded)
    setting.attend(loaded, "ours")
    loss, own_gradients = ours.gradients(loaded, group), _gradients(loaded)
    loaded.model.zero_grad()
    difference = sum(float((values - own_gradients[name]).pow(2).sum()) for name, values in published_gradients.items())
    size = sum(float(values.pow(2).sum()) for values in published_gradients.values())
    return {"loss": abs(loss - published_loss) / abs(published_loss), "gradients": (difference / size) ** 0.5}


def _untrained(folder: Path) -> Loaded:
    """Return the model before it knew anybody: losses of answers that it knows by heart are mere rounding."""
    config: Any = setting.loaded(folder, "published").model.config
    return model.build(layers=config.text_config.num_hidden_layers, side=config.vision_config.image_size)


def _gradients(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: p.grad.double() for name, p in loaded.model.named_parameters() if p.grad is not None}


def answers(folder: Path, side: str = "ours") -> dict[str, Any]:
    """Count the items whose answers are the same to the letter; with the accuracy of each column on this side."""
    columns = [json.loads((folder / f"{name}.answers.json").read_text()) for name in ("published", side)]
    outputs = [{line["id"] + name: line["output"] for name, lines in of.items() for line in lines} for of in columns]
    scores = [
        {
            name: mean_score([accuracy(line) for line in lines], [line["entity"] for line in lines]).value
            for name, lines in sorted(of.items())
        }
        for of in columns
    ]
    return {
        "items": len(outputs[0]),
        "same_answers": sum(outputs[1].get(key) == text for key, text in outputs[0].items()),
        "same_scores": scores[0] == scores[1],
        "accuracy": scores[1],
    }


def check(folder: Path) -> dict[str, Any]:
    """Compare masks, losses and gradients, and answers of what both sides left in this folder."""
    torch.manual_seed(0)
    return {
        "saliency": masks(folder),
        "epoch": gradients(_untrained(folder), setting.splits(folder).forget),
        "evaluation": answers(folder),
        "candidates": answers(folder, "candidates"),
    }
