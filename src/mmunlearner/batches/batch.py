"""Rows -> tensors, plain or with shared prefixes, and what a model says of the answers in them.

Shapes: B sequences, L tokens, Q questions (rows), T answer tokens of all questions together, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmunlearner.batches.rows import Encoder, Row, common_prefix


@dataclass(frozen=True)
class Batch:
    """What a forward pass needs, and where in it the answers are predicted."""

    inputs: dict[str, Tensor]
    """For `model(**inputs)`: input_ids [B, L], attention_mask [B, 1, L, L] or [B, L], pixel_values..."""
    keep: Tensor
    """bool [B, L]: positions whose logits are needed; K of them."""
    index: Tensor
    """int [T]: for each answer token, which of the K kept positions predicts it."""
    tokens: Tensor
    """int [T]: the answer tokens, question by question."""
    question: Tensor
    """int [T]: to which of the Q questions a token belongs; ascending."""
    count: int
    """Q."""

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """The same batch on another device (the name that accelerate looks for)."""
        moved = {k: v.to(device, **kwargs) for k, v in self.inputs.items()}
        tensors = {name: getattr(self, name).to(device, **kwargs) for name in ("keep", "index", "tokens", "question")}
        return replace(self, inputs=moved, **tensors)

    @property
    def size(self) -> int:
        """Tokens that the model sees, padding included."""
        return self.inputs["input_ids"].numel()


@dataclass(frozen=True)
class Answers:
    """A model's prediction of the answer tokens of Q questions."""

    logits: Tensor
    """float32 [T, V]."""
    tokens: Tensor
    """int [T]."""
    question: Tensor
    """int [T]."""
    count: int
    """Q."""
    features: Tensor | None = None
    """What the language model gets to see of the batch's images (the projector's output), [image tokens, D];
    None without images, or where the model does not return it."""

    @property
    def logps(self) -> Tensor:
        """Log-probability of each answer token, [T]."""
        return -nn.functional.cross_entropy(self.logits, self.tokens, reduction="none")

    @property
    def lengths(self) -> Tensor:
        """Answer tokens of each question, [Q]."""
        return self.per_question(torch.ones_like(self.tokens, dtype=self.logits.dtype))

    @property
    def logp_sum(self) -> Tensor:
        """log p(answer | question) of each question, [Q]."""
        return self.per_question(self.logps)

    @property
    def nll(self) -> Tensor:
        """Mean cross-entropy over the answer tokens of each question, [Q]."""
        return -self.logp_sum / self.lengths

    def per_question(self, values: Tensor) -> Tensor:
        """Sum of token values [T] within each question, [Q]."""
        return torch.zeros(self.count, dtype=values.dtype, device=values.device).index_add(0, self.question, values)


def answers(model: nn.Module, batch: Batch) -> Answers:
    """One forward pass; logits are computed only where an answer token is predicted."""
    out = model(**batch.inputs, logits_to_keep=batch.keep, use_cache=False)
    return Answers(out.logits.float()[batch.index], batch.tokens, batch.question, batch.count, _features(out))


def _features(out: Any) -> Tensor | None:
    seen = getattr(out, "image_hidden_states", None)
    if isinstance(seen, tuple | list):
        seen = torch.cat([each.flatten(0, -2) for each in seen]) if seen else None
    return None if seen is None else seen.flatten(0, -2)


def pad(rows: Sequence[Row], encoder: Encoder) -> Batch:
    """The plain batch: a row per question, padded on the right, each with its own image."""
    return _assemble([[row] for row in rows], [[i] for i in range(len(rows))], encoder, blocks=False)


def pack(rows: Sequence[Row], encoder: Encoder) -> Batch:
    """The same questions with shared prefixes: what rows of one image begin with alike is computed once.

    Behind the prefix each question sees the prefix and itself (a block attention mask), and its positions go on
    where the prefix ends, so that losses and gradients are those of `pad` up to rounding.
    """
    members: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        members.setdefault(row.group or f"text:{i // 8}", []).append(i)
    order = list(members.values())
    return _assemble([[rows[i] for i in group] for group in order], order, encoder, blocks=True)


@dataclass(frozen=True)
class _Sequence:
    """One sequence of a batch before padding."""

    ids: list[int]
    positions: list[int]
    block: list[int]
    """0 for the shared prefix, then 1, 2, ... for the questions behind it."""
    predicts: list[tuple[int, int, int]]
    """(place, token, question): the place whose logits predict the answer token."""


def _join(rows: Sequence[Row], questions: Sequence[int]) -> _Sequence:
    shared = common_prefix(rows)
    ids, positions, block = list(rows[0].input_ids[:shared]), list(range(shared)), [0] * shared
    predicts: list[tuple[int, int, int]] = []
    for number, (row, question) in enumerate(zip(rows, questions, strict=True), 1):
        offset = len(ids) - shared  # token i >= shared of the row stands at place offset + i
        ids += row.input_ids[shared:]
        positions += range(shared, len(row.input_ids))
        block += [number] * (len(row.input_ids) - shared)
        for i in range(row.answer_start, len(row.input_ids)):
            place = i - 1 if i == shared else offset + i - 1
            predicts.append((place, row.input_ids[i], question))
    return _Sequence(ids, positions, block, predicts)


def _assemble(groups: list[list[Row]], order: list[list[int]], encoder: Encoder, *, blocks: bool) -> Batch:
    sequences = [_join(group, questions) for group, questions in zip(groups, order, strict=True)]
    length = max(len(sequence.ids) for sequence in sequences)

    def padded(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (length - len(values))

    ids = torch.tensor([padded(s.ids, encoder.pad_id) for s in sequences])
    keep = torch.zeros(ids.shape, dtype=torch.bool)
    flat = [(b * length + place, token, q) for b, s in enumerate(sequences) for place, token, q in s.predicts]
    flat.sort(key=lambda entry: entry[2])  # stable: the tokens of a question stay in their order
    places, tokens, question = (torch.tensor(column) for column in zip(*flat, strict=True))
    keep.view(-1)[places] = True
    rank = keep.view(-1).cumsum(0) - 1
    inputs = {"input_ids": ids, **_images([group[0] for group in groups], encoder)}
    if blocks:
        block = torch.tensor([padded(s.block, -1) for s in sequences])
        inputs["attention_mask"] = _for_attention(block_mask(block), encoder)
        inputs["position_ids"] = torch.tensor([padded(s.positions, 0) for s in sequences])
    else:
        inputs["attention_mask"] = torch.tensor([padded([1] * len(s.ids), 0) for s in sequences])
    count = sum(len(group) for group in groups)
    return Batch(inputs, keep, rank[places], tokens, question, count)


def block_mask(block: Tensor) -> Tensor:
    """bool [B, 1, L, L]: who sees whom in sequences whose tokens belong to blocks [B, L].

    A token sees what stands before it in its own block and in the prefix (block 0); padding (-1) sees the padding and
    the prefix before it, since a row that sees nothing would be NaN.
    """
    length = block.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=block.device).tril()
    return (causal & ((block[:, :, None] == block[:, None, :]) | (block[:, None, :] == 0)))[:, None]


def _for_attention(sees: Tensor, encoder: Encoder) -> Tensor:
    """SDPA takes the mask as it is; eager attention adds it to the scores."""
    model = encoder.loaded.model
    if model.config._attn_implementation == "sdpa":
        return sees
    return torch.zeros(sees.shape, dtype=model.dtype).masked_fill(~sees, torch.finfo(model.dtype).min)


def _images(firsts: Sequence[Row], encoder: Encoder) -> Mapping[str, Tensor]:
    pictures = [encoder.pixels(row.image) for row in firsts if row.image is not None]
    return {name: torch.cat([p[name] for p in pictures]) for name in (pictures[0] if pictures else {})}
