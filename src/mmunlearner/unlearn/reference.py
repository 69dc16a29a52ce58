"""The reference model as cached log-probabilities of the answers: no second model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmunlearner.batches import Batch, Encoder, Row, answers, image_features, micro_batches, share_prefixes
from mmunlearner.methods import Reference
from mmunlearner.models import input_device

FULL_VOCABULARY = 1024
"""Up to this many tokens the whole distribution is kept."""
TOP = 128
"""Of larger vocabularies, so many of the likeliest tokens."""
BATCH = 64


@dataclass(frozen=True)
class ReferenceCache:
    """Per question: log-probabilities of its answer at the weights that the run starts from; empty unless asked for."""

    entries: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]]
    features: dict[tuple[str, ...], Tensor]
    """Per images of a row: what the language model gets to see of them, [image tokens, D]; empty unless asked for."""

    def of(self, rows: Sequence[Row], images: Sequence[tuple[str, ...]]) -> Reference:
        """The reference of a batch's questions and of its images (`Batch.images`), in its order."""
        known = [self.features[image] for image in images if image in self.features]
        features = torch.cat(known or [torch.empty(0)]) if len(known) == len(images) else None
        if not self.entries:
            return Reference(torch.empty(0), torch.empty(0), torch.empty(0), features)
        sums, logps, ids = zip(*(self.entries[_key(row)] for row in rows), strict=True)
        return Reference(torch.stack(sums), torch.cat(logps), torch.cat(ids), features)


def _key(row: Row) -> tuple[object, ...]:
    return (row.group, row.input_ids)


@torch.no_grad()
def cache(
    encoder: Encoder, rows: Sequence[Row], *, words: bool = True, features: bool = False, tokens: int = 0
) -> ReferenceCache:
    """One forward pass over the distinct rows, in eval mode, `tokens` of them at once (0: so many rows).

    Log-probabilities and image features are kept where they are asked for; without `words` the language model is not
    run.
    """
    model = encoder.loaded.model.eval()
    distinct = list({_key(row): row for row in sorted(rows, key=lambda row: row.group)}.values())
    entries: dict[tuple[object, ...], tuple[Tensor, Tensor, Tensor]] = {}
    known: dict[tuple[str, ...], Tensor] = {}
    for batch_rows, batch in _batches(distinct, encoder, tokens):
        on_device = batch.to(input_device(model))
        said = answers(model, on_device) if words else None
        if features:
            shown = image_features(model, on_device) if said is None else said.features
            known |= _features(encoder, batch_rows, batch.images, shown)
        if said is None:
            continue
        vocabulary = said.logits.shape[-1]
        top = said.logits.log_softmax(-1).topk(vocabulary if vocabulary <= FULL_VOCABULARY else TOP, dim=-1)
        sizes = [len(row.answer) for row in batch_rows]
        pieces = zip(top.values.cpu().split(sizes), top.indices.cpu().split(sizes), strict=True)
        for row, total, (logps, ids) in zip(batch_rows, said.logp_sum.cpu(), pieces, strict=True):
            entries[_key(row)] = (total, logps, ids)
    return ReferenceCache(entries, known)


def _batches(rows: Sequence[Row], encoder: Encoder, tokens: int) -> Iterator[tuple[Sequence[Row], Batch]]:
    if tokens:
        for piece in micro_batches(rows, [""] * len(rows), encoder, tokens):
            yield [rows[i] for i in piece.numbers], piece.batch
        return
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH], share_prefixes(rows[start : start + BATCH], encoder)


def _features(
    encoder: Encoder, rows: Sequence[Row], images: Sequence[tuple[str, ...]], features: Tensor | None
) -> dict[tuple[str, ...], Tensor]:
    """A row's images -> their share of the batch's features; they have as many as the row has image tokens."""
    if features is None:
        return {}
    token: int | None = getattr(encoder.loaded.model.config, "image_token_id", None)
    counts = {row.group: row.input_ids.count(token) for row in rows if row.images and token is not None}
    sizes = [counts.get(image, 0) for image in images]
    if sum(sizes) != len(features):
        return {}
    return dict(zip(images, features.cpu().split(sizes), strict=True))
