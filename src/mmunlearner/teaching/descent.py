"""Training of small models from nothing: Muon on matrices, AdamW on the rest, at a rate that rises and falls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from mmunlearner.core.progress import Progress
from mmunlearner.errors import TrainingError
from mmunlearner.unlearn.optimizer import muon


class Descent:
    """Optimizer and schedule of one stage: the rate rises over `rise` steps and falls to 0 over the last 1/`fall`."""

    def __init__(
        self,
        module: nn.Module,
        rate: float,
        steps: int,
        *,
        rise: int,
        fall: int,
        weight_decay: float = 0.0,
        clip: float = 1.0,
        optimizer: Callable[[nn.Module, float], torch.optim.Optimizer] | None = None,
    ) -> None:
        """Begin; `optimizer` of a module and a rate takes the place of Muon."""
        self.module, self.steps, self.clip = module, steps, clip
        self.optimizer = optimizer(module, rate) if optimizer else muon(module, rate, weight_decay)
        self.schedule = LambdaLR(self.optimizer, lambda step: min(1.0, (step + 1) / rise, fall * (1 - step / steps)))

    def step(self) -> None:
        """Move the weights by their gradients, clipped by norm, and forget the gradients."""
        nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.module.zero_grad()

    def run(self, loss_of: Callable[[], Tensor], progress: Progress) -> None:
        """Take all steps; the module is in training mode while it lasts.

        Raises:
            TrainingError: a loss is not finite.
        """
        self.module.train()
        for step in range(self.steps):
            loss = loss_of()
            if not torch.isfinite(loss):
                raise TrainingError(f"people: the loss of step {step + 1} is {loss.item()}; lower the learning rate")
            loss.backward()
            self.step()
            progress.update(f"loss {loss.item():5.3f}, step", step + 1, self.steps)
        self.module.eval()
