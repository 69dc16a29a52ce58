"""The vanilla model's answers, image features and hidden states, cached: no second model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mmunlearner.batches import Answers, Batch, Encoder, Row, answers, image_features, micro_batches, share_prefixes
from mmunlearner.core.progress import Progress
from mmunlearner.data import Example, prompt, target
from mmunlearner.methods import Needs, Reference
from mmunlearner.models import input_device

FULL_VOCABULARY = 1024
"""Largest vocabulary of which the whole distribution is kept."""
TOP = 128
"""Number of the likeliest tokens that are kept of larger vocabularies."""
BATCH = 64
"""Rows of a forward pass, where the recipe sets no `tokens_per_batch`."""
RowKey = tuple[tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True)
class ReferenceCache:
    """Outputs of the model that a run starts from, for its questions, as far as the terms need them."""

    answers: dict[RowKey, dict[str, Tensor]] = field(default_factory=dict)
    """Row -> its tensors of `Reference`: log-probability of the answer, likeliest tokens, hidden states."""
    features: dict[tuple[str, ...], Tensor] = field(default_factory=dict)
    """Keys of a row's images -> their features as the language model reads them, [image tokens, D]."""
    guesses: dict[RowKey, Tensor] = field(default_factory=dict)
    """Row -> the probability of its answer as a guess."""

    def of(self, rows: Sequence[Row], second_rows: Sequence[Row], images: Sequence[tuple[str, ...]]) -> Reference:
        """Return the reference of a batch's questions, second answers and images (`Batch.images`), in its order."""
        tensors = self._of_rows(rows)
        if self.guesses:
            tensors["guess"] = torch.stack([self.guesses.get(_key(row), torch.tensor(0.0)) for row in rows])
        features = [self.features[image] for image in images if image in self.features]
        # All or none: a model that reads images by cross-attention has none.
        if len(features) == len(images):
            tensors["features"] = torch.cat(features or [torch.empty(0)])
        return Reference(tensors, Reference(self._of_rows(second_rows)) if second_rows else None)

    def _of_rows(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        entries = [self.answers[_key(row)] for row in rows] if self.answers else []
        for name in entries[0] if entries else ():
            values = [entry[name] for entry in entries]
            # One number for each question, otherwise tokens along the first axis (of hidden states, the second).
            tensors[name] = (
                torch.stack(values) if name == "logp_sum" else torch.cat(values, 1 if name == "hidden" else 0)
            )
        return tensors


def _key(row: Row) -> RowKey:
    return (row.group, row.input_ids)


@dataclass(frozen=True)
class VanillaNeeds:
    """Outputs of the vanilla model that some term of a method reads."""

    answers: bool = False
    features: bool = False
    layers: tuple[int, ...] = ()
    """Decoder layers whose hidden states are read."""
    guess: bool = False

    @classmethod
    def of(cls, needs: Sequence[Needs], model: nn.Module) -> VanillaNeeds:
        """Return the union of the terms' needs."""
        read = {kind for of_term in needs for kind in of_term.vanilla}
        layers = {layer for of_term in needs if "hidden" in of_term.vanilla for layer in decoder_layers(model, of_term)}
        return cls("answers" in read, "features" in read, tuple(sorted(layers)), "guess" in read)

    def __bool__(self) -> bool:
        return self.answers or self.features or bool(self.layers) or self.guess


def decoder_layers(model: nn.Module, needs: Needs) -> list[int]:
    """Return the numbers of the decoder layers at the depths that a term needs."""
    if not needs.hidden:
        return []
    count = len(model.get_decoder().layers)  # pyright: ignore
    # A depth of 1 is the last layer, not one behind it.
    return [min(int(depth * count), count - 1) for depth in needs.hidden]


def second_answers(encoder: Encoder, examples: Sequence[Example], needs: Needs) -> list[Row]:
    """Return the rows of the examples with a term's second answers; none where it has none."""
    second = needs.second_answer
    return [encoder.conversation(prompt(e), second(e), e.images) for e in examples] if second else []


@torch.no_grad()
def cache_reference(
    encoder: Encoder,
    rows: Sequence[Row],
    needs: VanillaNeeds,
    *,
    tokens: int = 0,
    progress: Progress = Progress(),
) -> ReferenceCache:
    """Ask the model in eval mode once for each distinct row, `tokens` of them in a pass (0: 64 rows)."""
    model = encoder.loaded.model.eval()
    # By images, so that rows that share a prefix come into the same pass.
    distinct = list({_key(row): row for row in sorted(rows, key=lambda row: row.group)}.values())
    reference, asked = ReferenceCache(), 0
    for batch_rows, batch in _batches(distinct, encoder, tokens):
        on_device, output = batch.to(input_device(model)), None
        # As training computes, or a model that has not moved yet would be away from its reference.
        with encoder.loaded.autocast():
            if not (needs.answers or needs.layers):  # spares the language model
                features = image_features(model, on_device)
            else:
                output = answers(model, on_device, needs.layers)
                features = output.features
        if output is not None:
            reference.answers.update(_of_rows(batch_rows, output, needs))
        if needs.features and features is not None:
            reference.features.update(_of_images(encoder, batch_rows, batch.images, features))
        asked += len(batch_rows)
        progress.update("vanilla model's answers", asked, len(distinct))
    return reference


@torch.no_grad()
def guesses(
    encoder: Encoder,
    examples: Sequence[Example],
    faces: Sequence[Example],
    *,
    tokens: int = 0,
    progress: Progress = Progress(),
) -> dict[RowKey, Tensor]:
    """Return the probability of each example's answer where its question is asked about the images of `faces`, mean
    over them; by the example's row. Texts have none.
    """
    model = encoder.loaded.model.eval()
    with_images = [example for example in examples if example.images]
    # Views of an entity share their questions: each is asked once.
    asked = list({(prompt(example), target(example)): example for example in with_images}.values())
    pairs = [
        ((prompt(e), target(e)), encoder.rows([replace(e, images=face.images)])[0]) for face in faces for e in asked
    ]
    sums: dict[tuple[str, str], float] = dict.fromkeys((pair for pair, _ in pairs), 0.0)
    pair_of = {_key(row): pair for pair, row in pairs}
    done = 0
    for rows, batch in _batches([row for _, row in pairs], encoder, tokens):
        with encoder.loaded.autocast():
            probabilities = answers(model, batch.to(input_device(model))).logp_sum.exp().tolist()
        for row, probability in zip(rows, probabilities, strict=True):
            sums[pair_of[_key(row)]] += probability / len(faces)
        done += len(rows)
        progress.update("vanilla model's guesses", done, len(pairs))
    own = zip(encoder.rows(with_images), with_images, strict=True)
    return {_key(row): torch.tensor(sums.get((prompt(example), target(example)), 0.0)) for row, example in own}


def _batches(rows: Sequence[Row], encoder: Encoder, tokens: int) -> Iterator[tuple[Sequence[Row], Batch]]:
    if tokens:
        for micro_batch in micro_batches(rows, [""] * len(rows), encoder, tokens):
            yield [rows[i] for i in micro_batch.numbers], micro_batch.batch
        return
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH], share_prefixes(rows[start : start + BATCH], encoder)


def _of_rows(rows: Sequence[Row], output: Answers, needs: VanillaNeeds) -> dict[RowKey, dict[str, Tensor]]:
    """Split a batch's answers by row."""
    sizes = [len(row.input_ids) - row.answer_start for row in rows]
    columns: dict[str, Sequence[Tensor]] = {}
    if needs.answers:
        vocabulary = output.logits.shape[-1]
        top = output.logits.log_softmax(-1).topk(vocabulary if vocabulary <= FULL_VOCABULARY else TOP, dim=-1)
        columns["logp_sum"] = list(output.logp_sum.cpu())
        columns["topk_logps"], columns["topk_ids"] = top.values.cpu().split(sizes), top.indices.cpu().split(sizes)
    if needs.layers:
        columns["hidden"] = torch.stack([output.hidden[layer] for layer in needs.layers]).cpu().split(sizes, 1)
    return {_key(row): {name: values[i] for name, values in columns.items()} for i, row in enumerate(rows)}


def _of_images(
    encoder: Encoder, rows: Sequence[Row], images: Sequence[tuple[str, ...]], features: Tensor
) -> dict[tuple[str, ...], Tensor]:
    """Split a batch's features by the images of a row, which has as many features as image tokens."""
    token: int | None = getattr(encoder.loaded.model.config, "image_token_id", None)
    counts = {row.group: row.input_ids.count(token) for row in rows if row.images and token is not None}
    sizes = [counts.get(image, 0) for image in images]
    if sum(sizes) != len(features):  # the model counts image tokens otherwise: they cannot be split
        return {}
    return dict(zip(images, features.cpu().split(sizes), strict=True))
