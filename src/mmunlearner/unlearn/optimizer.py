"""Learning rates of the steps, and Muon for matrices with AdamW for the rest, behind one optimizer.

Muon trains small models from nothing in minutes. It takes momentum steps that are made orthogonal (Jordan et al. 2024).
This one computes in float32: `torch.optim.Muon` orthogonalises in bfloat16, which a CPU without bfloat16 instructions
emulates four times slower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmunlearner.config import Part, TrainConfig

# Coefficients of the quintic Newton-Schulz iteration
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5
ORDER = get_args(Part)
ADAMW_SHARE = 0.2
"""AdamW's learning rate over Muon's: Muon's steps are of unit spectral norm, AdamW's of unit entries."""


def learning_rate_share(step: int, config: TrainConfig, steps: int) -> float:
    """Return the share of the peak learning rate that optimizer step `step` of `steps` has, the first being 0.

    It rises in equal steps from above 0, so that the first step moves something too (transformers' schedules begin at
    0), and then stays, falls linearly or as a cosine.
    """
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    behind = max(1, steps - warmup)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * ((step - warmup) / behind)))
    return (steps - step) / behind if config.schedule == "linear" else 1.0


def part_of_trained(model: nn.Module, owner: Mapping[str, Part]) -> dict[int, Part]:
    """Return the part of each weight that trains, by its id; an adapter's belongs to that of its layer.

    `owner` has the part of each weight by its name in the model without an adapter.
    """
    layers: dict[str, Part] = {name.rpartition(".")[0]: part for name, part in owner.items()}

    def part(name: str) -> Part:
        path = name.removeprefix("base_model.model.")  # of peft
        while path and path not in layers:
            path = path.rpartition(".")[0]
        return layers[path]

    return {id(p): part(name) for name, p in model.named_parameters() if p.requires_grad}


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal; the learning rate grows with the root of rows / columns where there are more rows."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                # Nesterov: as if the next gradient were like this one.
                update = orthogonal(p.grad.lerp(buffer, group["momentum"]))
                scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return the matrix with all its singular values near 1 (between about 0.7 and 1.2), [m, n]."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # the Gram matrix is of the shorter side
    # The iteration needs singular values of at most 1, which the Frobenius norm ensures.
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x.T if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """Muon (momentum 0.95, orthogonalised updates) on hidden matrices, AdamW on embeddings, heads, norms and biases."""

    def __init__(self, matrices: Iterable[nn.Parameter], rest: Iterable[nn.Parameter], lr: float, weight_decay: float):
        muon = Muon(list(matrices), lr=lr, weight_decay=weight_decay)
        adamw = torch.optim.AdamW(list(rest), lr=lr * ADAMW_SHARE, weight_decay=0.0, betas=(0.9, 0.95))
        # An optimizer by its class, which schedulers and accelerate ask for; the inner ones do the work.
        super().__init__(muon.param_groups + adamw.param_groups, {})
        self.inner = (muon, adamw)
        self.share_groups()

    def share_groups(self) -> None:
        """Let this optimizer have the groups of the inner ones."""
        # A schedule changes the groups of this optimizer: they have to be the inner optimizers' own.
        self.param_groups = [group for optimizer in self.inner for group in optimizer.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        for optimizer in self.inner:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.inner[0].state_dict(), "adamw": self.inner[1].state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner[0].load_state_dict(state_dict["muon"])
        self.inner[1].load_state_dict(state_dict["adamw"])
        self.share_groups()


def muon(model: nn.Module, lr: float, weight_decay: float) -> MuonAdamW:
    """Split a model's trainable weights: 2-D weights of hidden layers to Muon, everything else to AdamW."""
    # Embeddings and head are lookups by token, not maps between hidden states.
    outer: set[int] = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    output_head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    outer |= {id(p) for p in output_head.parameters()} if output_head is not None else set()
    trainable = [p for p in model.parameters() if p.requires_grad]

    def is_matrix(p: Tensor) -> bool:
        return p.ndim == 2 and id(p) not in outer

    return MuonAdamW(
        [p for p in trainable if is_matrix(p)], [p for p in trainable if not is_matrix(p)], lr, weight_decay
    )


def set_rates_by_part(optimizer: Optimizer, parts: Mapping[int, Part], shares: Mapping[Part, float]) -> None:
    """Give the weights of each part their own learning rate: a share of the one that they have.

    `parts` has the part of each weight by its id.
    """
    if isinstance(optimizer, MuonAdamW):
        for inner in optimizer.inner:
            set_rates_by_part(inner, parts, shares)
        optimizer.share_groups()
        return
    groups = optimizer.param_groups
    # In place: a schedule, and what wraps the optimizer, know this list.
    groups[:] = [
        {**group, "params": weights, "lr": group["lr"] * shares.get(part, 1.0), "part": part}
        for group in groups
        for part in ORDER
        if (weights := [p for p in group["params"] if parts[id(p)] == part])
    ]
