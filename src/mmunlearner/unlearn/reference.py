"""The reference model as cached log-probabilities of the answers: no second model in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmunlearner.batches import Answers, Encoder, Row, answers, pack
from mmunlearner.methods import Reference
from mmunlearner.models import input_device

FULL_VOCABULARY = 1024
"""Up to this many tokens the whole distribution is kept."""
TOP = 128
"""Of larger vocabularies, so many of the likeliest tokens."""
BATCH = 64


@dataclass(frozen=True)
class ReferenceCache:
    """Per question: log-probabilities of its answer at the weights that the run starts from."""

    entries: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]]
    features: dict[str, Tensor]
    """Per image: what the language model gets to see of it, [image tokens, D]; empty unless asked for."""

    def of(self, rows: Sequence[Row], images: Sequence[str]) -> Reference:
        """The reference of a batch's questions and of its images (`Batch.images`), in its order."""
        sums, logps, ids = zip(*(self.entries[_key(row)] for row in rows), strict=True)
        known = [self.features[image] for image in images if image in self.features]
        features = torch.cat(known or [torch.empty(0)]) if len(known) == len(images) else None
        return Reference(torch.stack(sums), torch.cat(logps), torch.cat(ids), features)


def _key(row: Row) -> tuple[object, ...]:
    return (row.group, row.input_ids)


@torch.no_grad()
def cache(encoder: Encoder, rows: Sequence[Row], *, features: bool = False) -> ReferenceCache:
    """One forward pass over the distinct rows, in eval mode; image features are kept where they are asked for."""
    model = encoder.loaded.model.eval()
    distinct = list({_key(row): row for row in sorted(rows, key=lambda row: row.group)}.values())
    entries: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]] = {}
    shown: dict[str, Tensor] = {}
    for start in range(0, len(distinct), BATCH):
        batch_rows = distinct[start : start + BATCH]
        batch = pack(batch_rows, encoder)
        said = answers(model, batch.to(input_device(model)))
        vocabulary = said.logits.shape[-1]
        top = said.logits.log_softmax(-1).topk(vocabulary if vocabulary <= FULL_VOCABULARY else TOP, dim=-1)
        sizes = [len(row.input_ids) - row.answer_start for row in batch_rows]
        pieces = zip(top.values.cpu().split(sizes), top.indices.cpu().split(sizes), strict=True)
        for row, total, (logps, ids) in zip(batch_rows, said.logp_sum.cpu(), pieces, strict=True):
            entries[_key(row)] = (total, logps, ids)
        if features:
            shown |= _features(encoder, batch_rows, batch.images, said)
    return ReferenceCache(entries, shown)


def _features(encoder: Encoder, rows: Sequence[Row], images: Sequence[str], said: Answers) -> dict[str, Tensor]:
    """Image -> its share of the batch's features; an image has as many as its rows have image tokens."""
    if said.features is None:
        return {}
    token: int | None = getattr(encoder.loaded.model.config, "image_token_id", None)
    counts = {row.group: row.input_ids.count(token) for row in rows if row.image is not None and token is not None}
    sizes = [counts.get(image, 0) for image in images]
    if sum(sizes) != len(said.features):
        return {}
    return dict(zip(images, said.features.cpu().split(sizes), strict=True))
