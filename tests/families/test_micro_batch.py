"""Passes of bounded size add up to the whole batch for every family, also where no rows share a sequence."""

from __future__ import annotations

import torch
from families.questions import FEW

from mmunlearner.batches import Batch, answers, micro_batches

OWNERS = ["", "", "", "ann", "ben", "", "", "", ""]


def test_micro_batches_add_up(encoder):
    model, rows = encoder.loaded.model, [encoder.conversation(*each) for each in FEW]

    def gradient(batches: list[tuple[float, Batch]]) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        loss = sum(share * answers(model, batch).nll.mean() for share, batch in batches)
        loss.backward()
        return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    longest = max(len(row.input_ids) for row in rows)
    (whole,) = micro_batches(rows, OWNERS, encoder, 0)
    expected, plain = gradient([(1.0, whole.batch)])
    for tokens in (1, 2 * longest):
        pieces = list(micro_batches(rows, OWNERS, encoder, tokens))
        loss, found = gradient([(len(piece.numbers) / len(rows), piece.batch) for piece in pieces])
        assert len(pieces) > 1
        assert abs(loss - expected) <= 1e-5 * abs(expected)
        assert (found - plain).norm() <= 1e-4 * plain.norm()
