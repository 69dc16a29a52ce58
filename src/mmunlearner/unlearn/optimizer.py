"""Muon for matrices and AdamW for the rest, behind one optimizer: what trains small models from nothing in minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mmunlearner.unlearn.muon import Muon

ADAMW_SHARE = 0.2
"""AdamW's learning rate over Muon's: Muon's steps are of unit spectral norm, AdamW's of unit entries."""


class MuonAdamW(torch.optim.Optimizer):
    """Muon (momentum 0.95, orthogonalised updates) on hidden matrices, AdamW on embeddings, heads, norms and biases."""

    def __init__(self, matrices: Iterable[nn.Parameter], rest: Iterable[nn.Parameter], lr: float, weight_decay: float):
        muon = Muon(list(matrices), lr=lr, weight_decay=weight_decay)
        adamw = torch.optim.AdamW(list(rest), lr=lr * ADAMW_SHARE, weight_decay=0.0, betas=(0.9, 0.95))
        super().__init__(muon.param_groups + adamw.param_groups, {})
        self.inner = (muon, adamw)
        self._share()

    def _share(self) -> None:
        """The groups that a schedule changes are the inner optimizers' own."""
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
        self._share()


def muon(model: nn.Module, lr: float, weight_decay: float) -> MuonAdamW:
    """Split a model's trainable weights: 2-D weights of hidden layers to Muon, everything else to AdamW."""
    outer: set[int] = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    head: Any = getattr(model, "get_output_embeddings", lambda: None)()
    outer |= {id(p) for p in head.parameters()} if head is not None else set()
    trainable = [p for p in model.parameters() if p.requires_grad]

    def is_matrix(p: Tensor) -> bool:
        return p.ndim == 2 and id(p) not in outer

    return MuonAdamW(
        [p for p in trainable if is_matrix(p)], [p for p in trainable if not is_matrix(p)], lr, weight_decay
    )
