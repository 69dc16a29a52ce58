"""Rows -> tensors, plain or with shared prefixes, and what a model says of the answers in them.

Shapes: B sequences, L tokens, Q questions (rows), T answer tokens of all questions together, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.padding import alike, plain, right
from mmunlearner.batches.prefix import Joined, for_model, may_share, shared
from mmunlearner.batches.rows import Row, common_prefix


@dataclass(frozen=True)
class Pass:
    """One forward pass."""

    inputs: dict[str, Tensor]
    """For the model: input_ids [B, L], attention_mask [B, L], or bool [B, 1, L, L] of shared sequences (`for_model`),
    pixel_values..."""
    keep: Tensor
    """bool [B, L]: positions whose logits are needed."""

    def to(self, device: torch.device | str, **kwargs: Any) -> Pass:
        return Pass({k: v.to(device, **kwargs) for k, v in self.inputs.items()}, self.keep.to(device, **kwargs))


@dataclass(frozen=True)
class Batch:
    """What the forward passes need, and where in them the answers are predicted."""

    passes: tuple[Pass, ...]
    """One, except where a model cannot take texts beside images; K positions are kept in all of them."""
    index: Tensor
    """int [T]: for each answer token, which of the K kept positions predicts it."""
    tokens: Tensor
    """int [T]: the answer tokens, question by question."""
    question: Tensor
    """int [T]: to which of the Q questions a token belongs; ascending."""
    count: int
    """Q."""
    images: tuple[tuple[str, ...], ...] = ()
    """Keys of the images that the passes are shown, for each sequence that has any, in their order."""

    def to(self, device: torch.device | str, **kwargs: Any) -> Batch:
        """The same batch on another device (the name that accelerate looks for)."""
        tensors = {name: getattr(self, name).to(device, **kwargs) for name in ("index", "tokens", "question")}
        return replace(self, passes=tuple(each.to(device, **kwargs) for each in self.passes), **tensors)

    @property
    def size(self) -> int:
        """Tokens that the model sees, padding included."""
        return sum(each.keep.numel() for each in self.passes)


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
    None where they reach it by cross-attention."""

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


def shown(model: nn.Module, batch: Batch) -> Answers:
    """The forward passes as far as the language model, which is not run: image features, and answers to nothing.

    Where only the features matter (method option `anchor` alone), that is all that there is to compute, and to
    differentiate: of seven billion weights, the vision tower's third of a billion.
    """
    with _skipped(unwrapped(model).get_decoder()), _decoder_inputs(model) as embedded:
        for each in batch.passes:
            model(**for_model(each.inputs, unwrapped(model)), logits_to_keep=1, use_cache=False)
    nothing = batch.tokens[:0]
    return Answers(nothing.float()[:, None], nothing, nothing, 0, _features(model, batch, embedded))


def answers(model: nn.Module, batch: Batch) -> Answers:
    """The forward passes; logits are computed only where an answer token is predicted."""
    with _decoder_inputs(model) as embedded:
        outs = [
            model(**for_model(each.inputs, unwrapped(model)), logits_to_keep=each.keep, use_cache=False)
            for each in batch.passes
        ]
    logits = torch.cat([out.logits for out in outs]) if len(outs) > 1 else outs[0].logits
    return Answers(
        logits.float()[batch.index], batch.tokens, batch.question, batch.count, _features(model, batch, embedded)
    )


@contextmanager
def _skipped(decoder: nn.Module) -> Iterator[None]:
    """Within, the decoder hands on what it is given, without a layer run; as it was before afterwards."""
    own = vars(decoder).get("forward")  # accelerate's, where layers are spread over devices
    original = decoder.forward

    def hand_on(*given: Any, inputs_embeds: Tensor | None = None, **named: Any) -> Any:
        if inputs_embeds is None:  # images by cross-attention
            return original(*given, **named)
        return BaseModelOutputWithPast(last_hidden_state=inputs_embeds)  # pyright: ignore[reportArgumentType]

    decoder.forward = hand_on
    try:
        yield
    finally:
        del decoder.forward
        if own is not None:
            decoder.forward = own


@contextmanager
def _decoder_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects what the language model is given in each pass, [B, L, D]: text embeddings and image features."""
    seen: list[Tensor] = []

    def see(_: nn.Module, __: tuple[Any, ...], given: dict[str, Any]) -> None:
        if given.get("inputs_embeds") is not None:
            seen.append(given["inputs_embeds"])

    handle = unwrapped(model).get_decoder().register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def unwrapped(model: nn.Module) -> Any:
    """What a distributed run has wrapped, or else the model itself."""
    return getattr(model, "module", model)


def _features(model: nn.Module, batch: Batch, embedded: Sequence[Tensor]) -> Tensor | None:
    """The image features among them; None where images go by cross-attention instead."""
    token = getattr(unwrapped(model).config, "image_token_id", None)
    if token is None or len(embedded) < len(batch.passes):
        return None
    given = zip(embedded, (each.inputs["input_ids"] for each in batch.passes), strict=True)
    return torch.cat([embeddings[ids == token] for embeddings, ids in given])


def pad(rows: Sequence[Row], encoder: Encoder) -> Batch:
    """The plain batch: a row per question, padded on the right, each with its own images."""
    return assemble([[row] for row in rows], [[i] for i in range(len(rows))], encoder, None)


def pack(rows: Sequence[Row], encoder: Encoder, groups: Sequence[Sequence[int]] = ()) -> Batch:
    """The same questions with shared prefixes: what rows of the same images begin with alike is computed once.

    `groups` has the numbers of the rows that share a sequence; left out, they are those of the same images, and texts
    by eights.

    Behind the prefix each question sees the prefix and itself (a block attention mask), and its positions go on
    where the prefix ends, so that losses and gradients are those of `pad` up to rounding. Rows whose attention does
    not allow that are batched plainly (`may_share`).
    """
    members: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        members.setdefault(row.group or (f"text:{i // 8}",), []).append(i)
    order = groups or list(members.values())
    return assemble([[rows[i] for i in group] for group in order], order, encoder, _join)


def _join(rows: Sequence[Row]) -> Joined:
    """The common prefix, then each row's rest as a block of its own."""
    start = common_prefix(rows)
    length = start + sum(len(row.input_ids) - start for row in rows)
    joined = Joined(
        list(rows[0].input_ids[:start]), [(0, i) for i in range(start)], [length] * start, [[] for _ in rows]
    )
    for number, row in enumerate(rows):
        offset = len(joined.ids) - start  # token i >= start of the row stands at place offset + i
        rest = range(start, len(row.input_ids))
        joined.ids += row.input_ids[start:]
        joined.sources += [(number, i) for i in rest]
        joined.ends += [offset + len(row.input_ids)] * len(rest)
        joined.places[number] = [
            i - 1 if i == start else offset + i - 1 for i in range(row.answer_start, len(row.input_ids))
        ]
    return joined


def assemble(
    groups: Sequence[Sequence[Row]],
    order: Sequence[Sequence[int]],
    encoder: Encoder,
    join: Callable[[Sequence[Row]], Joined] | None,
) -> Batch:
    """Groups of rows -> a batch; `order` has the number of each row's question, `join` makes a group one sequence.

    Rows that the model cannot take beside each other get passes of their own; where they cannot share a sequence, or
    without `join`, each row is one.
    """
    passes: list[Pass] = []
    predicted: dict[int, tuple[Row, list[int]]] = {}
    kept, shown = 0, []
    for some in alike([group[0] for group in groups]):
        members = [groups[i] for i in some]
        numbers = list(chain.from_iterable(order[i] for i in some))
        rows = list(chain.from_iterable(members))
        if join is not None and may_share(rows, encoder):
            sequences = [join(group) for group in members]
            inputs, seen = shared(members, sequences, encoder), [group[0] for group in members]
            places = [(b, each) for b, sequence in enumerate(sequences) for each in sequence.places]
        else:
            inputs, seen = plain(rows, encoder, right), rows
            places = [(b, list(range(row.answer_start - 1, len(row.input_ids) - 1))) for b, row in enumerate(rows)]
        made, ranks = _pass(inputs, places)
        predicted |= {
            number: (row, [kept + rank for rank in mine])
            for number, row, mine in zip(numbers, rows, ranks, strict=True)
        }
        kept += int(made.keep.sum())
        passes.append(made)
        shown += [row.group for row in seen if row.images]
    in_turn = [predicted[number] for number in range(len(predicted))]
    return Batch(
        tuple(passes),
        torch.tensor([rank for _, ranks in in_turn for rank in ranks]),
        torch.tensor([token for row, _ in in_turn for token in row.input_ids[row.answer_start :]]),
        torch.arange(len(in_turn)).repeat_interleave(torch.tensor([len(ranks) for _, ranks in in_turn])),
        len(in_turn),
        tuple(shown),
    )


def _pass(inputs: dict[str, Tensor], places: Sequence[tuple[int, list[int]]]) -> tuple[Pass, list[list[int]]]:
    """Keep what predicts answer tokens; for each row's (sequence, places), which of the kept positions they are."""
    ids = inputs["input_ids"]
    keep = torch.zeros(ids.shape, dtype=torch.bool)
    flat = [[b * ids.shape[1] + place for place in mine] for b, mine in places]
    keep.view(-1)[torch.tensor(list(chain.from_iterable(flat)))] = True
    rank = (keep.view(-1).cumsum(0) - 1).tolist()
    return Pass(inputs, keep), [[rank[place] for place in mine] for mine in flat]
