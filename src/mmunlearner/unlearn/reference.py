"""The reference model as cached log-probabilities of the answers: no second model in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmunlearner.batches import Encoder, Row, answers, pack
from mmunlearner.methods import Reference

FULL_VOCABULARY = 1024
"""Up to this many tokens the whole distribution is kept."""
TOP = 128
"""Of larger vocabularies, so many of the likeliest tokens."""
BATCH = 64


@dataclass(frozen=True)
class ReferenceCache:
    """Per question: log-probabilities of its answer at the weights that the run starts from."""

    entries: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]]

    def of(self, rows: Sequence[Row]) -> Reference:
        """The reference of a batch's questions, in its order."""
        sums, logps, ids = zip(*(self.entries[_key(row)] for row in rows), strict=True)
        return Reference(torch.stack(sums), torch.cat(logps), torch.cat(ids))


def _key(row: Row) -> tuple[object, ...]:
    return (row.group, row.input_ids)


@torch.no_grad()
def cache(encoder: Encoder, rows: Sequence[Row]) -> ReferenceCache:
    """One forward pass over the distinct rows, in eval mode."""
    model = encoder.loaded.model.eval()
    distinct = list({_key(row): row for row in sorted(rows, key=lambda row: row.group)}.values())
    entries: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]] = {}
    for start in range(0, len(distinct), BATCH):
        batch_rows = distinct[start : start + BATCH]
        said = answers(model, pack(batch_rows, encoder).to(model.device))
        vocabulary = said.logits.shape[-1]
        top = said.logits.log_softmax(-1).topk(vocabulary if vocabulary <= FULL_VOCABULARY else TOP, dim=-1)
        sizes = [len(row.input_ids) - row.answer_start for row in batch_rows]
        pieces = zip(top.values.cpu().split(sizes), top.indices.cpu().split(sizes), strict=True)
        for row, total, (logps, ids) in zip(batch_rows, said.logp_sum.cpu(), pieces, strict=True):
            entries[_key(row)] = (total, logps, ids)
    return ReferenceCache(entries)
