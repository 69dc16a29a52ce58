"""The copy of a model that relearns, for unlearning against relearning (`methods.Relearning`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmunlearner.methods import Relearning

_STATES = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW stores of each weight."""


class Relearner:
    """A copy of a model's weights that learns by AdamW, one step at a time; all its weights train.

    The copy is a second set of numbers for the same modules: it is put in their place for a pass, and so its passes
    go through whatever the model's own go through (masks, adapters, number formats).
    """

    def __init__(self, model: nn.Module, options: Relearning):
        self.options = options
        # Weights of 8 or 4 bits are no floating-point numbers and have no gradient.
        self.weights = {name: p for name, p in model.named_parameters() if p.is_floating_point()}
        self.copy: dict[str, nn.Parameter] = {}
        self.steps = 0
        """Steps that the copy has made since it was taken from the model; 0: it is taken at the next step."""

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the copy's weights within the block: gradients at them go to the model's weights."""
        own = {name: weight.data for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            weight.data = self.copy[name].data
        try:
            yield
        finally:
            for name, weight in self.weights.items():
                weight.data = own[name]

    @contextmanager
    def learning(self) -> Iterator[Callable[[Tensor], None]]:
        """Make a step of the copy with the losses that the block hands over, computed within it: their sum counts."""
        if not self.steps:
            self._take()
        trains = {name: weight.requires_grad for name, weight in self.weights.items()}

        def learn(loss: Tensor) -> None:
            # Not `backward`: the gradients of the model's own terms are in the weights already.
            gradients = torch.autograd.grad(loss, list(self.weights.values()), allow_unused=True)
            for weight, gradient in zip(self.copy.values(), gradients, strict=True):
                if gradient is not None:
                    weight.grad = gradient if weight.grad is None else weight.grad + gradient

        with self.in_place():
            for weight in self.weights.values():
                weight.requires_grad_(True)
            try:
                yield learn
            finally:
                for name, weight in self.weights.items():
                    weight.requires_grad_(trains[name])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps = (self.steps + 1) % int(self.options.relearn_steps)

    def _take(self) -> None:
        """Take the copy from the model as it is now."""
        self.copy = {name: nn.Parameter(weight.detach().clone()) for name, weight in self.weights.items()}
        self.optimizer = torch.optim.AdamW(self.copy.values(), self.options.relearn_rate, weight_decay=0.0)

    def state(self) -> dict[str, Tensor]:
        """Return the copy and its optimizer's state, for a checkpoint; without a copy that goes on, its steps alone."""
        state = {"steps": torch.tensor(self.steps)}
        if self.steps:
            for name, weight in self.copy.items():
                state[f"weight {name}"] = weight.detach().contiguous()
                state |= {f"{key} {name}": value.contiguous() for key, value in self.optimizer.state[weight].items()}
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint's state.

        Raises:
            KeyError: it is of another model.
        """
        self.steps = int(state["steps"])
        if not self.steps:
            return
        self._take()
        for name, weight in self.copy.items():
            weight.data.copy_(state[f"weight {name}"])
            if f"step {name}" in state:  # a weight that no question reaches has none
                # `step` stays on the CPU, where AdamW keeps it.
                self.optimizer.state[weight] = {
                    key: state[f"{key} {name}"].to(weight.device if key != "step" else "cpu") for key in _STATES
                }
