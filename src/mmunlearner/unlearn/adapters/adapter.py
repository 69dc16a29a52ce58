"""The protocol of adapters, and the trivial one: the weights themselves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from mmunlearner.config import Part
from mmunlearner.unlearn.adapters.effective import EffectiveWeight, parameters_in_forward


@dataclass(frozen=True)
class Adapted:
    """A model with an adapter."""

    model: nn.Module
    """The model that is run and trained."""
    weights: Sequence[EffectiveWeight]
    """Weights that the gradient mask acts on."""
    merge: Callable[[nn.Module | None], Any]
    """`merge(base)` returns an ordinary model whose weights are those that the adapted model's forward pass uses. They
    are written into `base` (changed in place) where one is given, otherwise into the adapted model itself."""


class Adapter(Protocol):
    """Trains few numbers in place of a model's weights, or chooses which of them train."""

    quantized: bool
    """True if it can be put on weights of 8 or 4 bits."""

    def wrap(self, model: nn.Module, parts: Sequence[Part]) -> Adapted:
        """Put the adapter on the weights of these parts of the model, and let nothing else train.

        Raises:
            MaskError: there is nothing in these parts that it can be put on.
        """
        ...


@dataclass(frozen=True)
class WholeWeights:
    """No adapter: the model's own weights train."""

    trainable: Collection[str] | None = None
    """Names of the weights that train; None: all of them."""
    quantized = False

    def wrap(self, model: nn.Module, parts: Sequence[Part] = ()) -> Adapted:
        """Freeze all weights but the trainable ones, wherever they lie."""
        if self.trainable is not None:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name in self.trainable)
        weights, handles = parameters_in_forward(model)

        def merge(_: nn.Module | None) -> Any:
            for handle in handles:
                handle.remove()
            return model

        return Adapted(model, weights, merge)
