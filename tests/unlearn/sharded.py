"""Run under torchrun by test_masking: weights sharded over two processes, one masked step."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.distributed as dist
from support.tiny import VOCABULARY, llava
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from unlearn.test_masking import ALL, PLAIN, SPLITS, make_mask

from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.unlearn.adapters import WholeWeights
from mmunlearner.unlearn.masking import Masking


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def main() -> None:
    dist.init_process_group("gloo")
    mask, loaded = make_mask(ALL), llava(VOCABULARY)
    model = loaded.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for layer in model.get_decoder().layers:
        fully_shard(layer)
    fully_shard(model)
    assert all(isinstance(p, DTensor) for p in model.parameters())
    encoder = Encoder(loaded)
    batch = share_prefixes(encoder.rows(SPLITS.forget), encoder)
    masking = Masking(WholeWeights().wrap(model).weights, mask)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for term in ("retain", "forget"):
        optimizer.zero_grad()
        with masking.on(term):
            answers(model, batch).nll.mean().backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is None:
                assert name not in PLAIN, name
                continue
            expected = PLAIN[name]
            if term == "forget":
                expected = expected * mask.of(name) if name in mask else torch.zeros_like(expected)
            torch.testing.assert_close(whole(parameter.grad), expected, rtol=1e-5, atol=1e-8)
            outside = ~mask.of(name) if name in mask else torch.ones_like(expected, dtype=torch.bool)
            assert term == "retain" or not whole(parameter.grad)[outside].any(), name
    optimizer.step()
    moved = 0
    for name, parameter in model.named_parameters():
        changed = whole(parameter.detach()) != before[name]
        assert not (changed & ~mask.of(name) if name in mask else changed).any(), name
        moved += int(changed.sum())
    assert moved > 100
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
