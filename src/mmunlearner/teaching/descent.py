"""Training of small models from nothing: Muon on matrices, AdamW on the rest, at a rate that rises and falls."""

from __future__ import annotations

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

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
        weight_decay: float,
        clip: float = 1.0,
    ) -> None:
        self.module, self.clip = module, clip
        self.optimizer = muon(module, rate, weight_decay)
        self.schedule = LambdaLR(self.optimizer, lambda step: min(1.0, (step + 1) / rise, fall * (1 - step / steps)))

    def step(self) -> None:
        """Move the weights by their gradients, clipped by norm, and forget the gradients."""
        nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.module.zero_grad()
