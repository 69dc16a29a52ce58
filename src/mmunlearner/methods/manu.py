"""MANU: prunes the MLP neurons that matter for what is forgotten, by statistics of their activations; no training.

A neuron is an input of the last linear layer of an MLP (down_proj, fc2): pruned, its column there is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mmunlearner.core.progress import Progress
from mmunlearner.data import entities_in_turn
from mmunlearner.errors import DataError
from mmunlearner.methods.method import Method

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mmunlearner.batches import Encoder
    from mmunlearner.data import Example, Splits

EPS = 1e-5


@dataclass
class Activations:
    """Sums over tokens of the statistics of one MLP's N neurons, each float64 [N]."""

    tokens: int
    magnitude: Tensor
    active: Tensor
    total: Tensor
    squares: Tensor

    @classmethod
    def zeros(cls, neurons: int) -> Activations:
        """Return the sums of no token."""
        import torch

        return cls(0, *(torch.zeros(neurons, dtype=torch.float64) for _ in range(4)))

    def add(self, values: Tensor, active_from: float) -> None:
        """Add activations [..., N]; those of a magnitude above `active_from` count as active."""
        # In float64: variances are differences of large sums.
        values = values.detach().flatten(0, -2).cpu().double()
        self.tokens += len(values)
        self.magnitude += values.abs().sum(0)
        self.active += (values.abs() > active_from).sum(0)
        self.total += values.sum(0)
        self.squares += values.square().sum(0)

    def means(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mean magnitude, rate of activity, variance and mean square of each neuron."""
        count = max(self.tokens, 1)  # texts run no neuron of the vision part
        mean, square = self.total / count, self.squares / count
        return self.magnitude / count, self.active / count, (square - mean.square()).clamp_min(0), square


def importance(images: Activations, texts: Activations) -> Tensor:
    """Return how differently neurons act on questions with images and on texts, [N]: MANU's four statistics, summed."""
    (z_m, rate_m, variance_m, square_m), (z_t, rate_t, variance_t, square_t) = images.means(), texts.means()
    return (
        (z_m - z_t).abs() / (z_m + z_t + EPS)
        + (rate_m - rate_t).abs() / (rate_m + rate_t + EPS)
        + (variance_m + variance_t).sqrt()
        + ((square_m - square_t).abs() / (square_m + square_t + EPS)).sqrt()
    )


def prune(
    encoder: Encoder,
    splits: Splits,
    may_change: Callable[[str], Tensor] | None,
    progress: Progress,
    *,
    share: float = 0.02,
    active_from: float = 0.1,
    limit: float = 512,
) -> None:
    """Zero the `share` of all MLP neurons with the highest importance for the forget set over that for the retain set.

    At most `limit` questions of each kind are asked, of all entities in turn (0: all). Of a neuron's column only the
    entries that `may_change` selects are zeroed.

    Raises:
        DataError: there are no texts about the entities to forget, or about others.
    """
    import torch  # `mmunlearner list` reads this module without it

    model, forget = encoder.loaded.model.eval(), splits.forget_entities
    layers = mlp_outputs(model)
    kinds = {
        "forget images": splits.forget,
        "forget texts": [text for text in splits.text if text.entity in forget],
        "retain images": splits.retain,
        "retain texts": [text for text in splits.text if text.entity not in forget],
    }
    measured: dict[str, dict[str, Activations]] = {}
    for number, (kind, examples) in enumerate(kinds.items()):
        if not examples:
            raise DataError(f"method manu: there are no {kind} to compare activations on")
        questions = entities_in_turn([example] for example in examples)[: int(limit) or None]
        quarter = progress.part(number, number + 1, len(kinds))
        measured[kind] = measure(encoder, questions, layers, active_from, quarter, kind)
    scores = {
        name: importance(measured["forget images"][name], measured["forget texts"][name])
        / (importance(measured["retain images"][name], measured["retain texts"][name]) + EPS)
        for name in layers
    }
    # One ranking over all layers: a layer may lose many neurons, or none.
    all_scores = torch.cat(list(scores.values()))
    lowest = all_scores.topk(max(1, round(share * len(all_scores)))).values[-1]
    with torch.no_grad():
        for name, layer in layers.items():
            column = (scores[name] >= lowest).to(layer.weight.device)
            pruned = column.expand_as(layer.weight)
            # A mask selects single weights: of a neuron's column, some entries may stay.
            if may_change is not None:
                pruned = pruned & may_change(f"{name}.weight").to(layer.weight.device)
            layer.weight.masked_fill_(pruned, 0.0)


def measure(
    encoder: Encoder,
    examples: Sequence[Sequence[Example]],
    layers: dict[str, nn.Linear],
    active_from: float,
    progress: Progress,
    title: str,
) -> dict[str, Activations]:
    """Return the activations of each MLP on these questions and their answers."""
    import torch

    from mmunlearner.batches import answers, share_prefixes
    from mmunlearner.models import input_device

    sums = {name: Activations.zeros(layer.in_features) for name, layer in layers.items()}
    model = encoder.loaded.model

    def observe(activations: Activations, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        activations.add(inputs[0], active_from)

    with torch.no_grad(), ExitStack() as hooks:
        for name, layer in layers.items():
            # Before the layer: its inputs are what the neurons put out.
            hooks.enter_context(layer.register_forward_pre_hook(partial(observe, sums[name])))
        for group in progress.track(examples, f"activations, {title}"):
            # One question at a time: no padding, whose activations would count.
            answers(model, share_prefixes(encoder.rows(group), encoder).to(input_device(model)))
    return sums


def mlp_outputs(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the last linear layer of each MLP, by name.

    An MLP is recognised by its shape, whatever its name: two or three linear layers in one module; all but the last map
    to N neurons, and the last maps from them.
    """
    from torch import nn

    outputs: dict[str, nn.Linear] = {}
    for name, module in model.named_modules():
        linear = {n: child for n, child in module.named_children() if isinstance(child, nn.Linear)}
        # Attention has four, or two of which the first maps to 3 N: query, key and value in one.
        if len(linear) in (2, 3):
            *first, last = linear
            if all(linear[n].out_features == linear[last].in_features for n in first):
                outputs[f"{name}.{last}"] = linear[last]
    return outputs


METHOD = Method("manu", edit=prune, paper="Liu et al. 2025, arXiv 2502.15910")
