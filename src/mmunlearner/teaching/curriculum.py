"""Curriculum of the shipped models: batches drawn from training pages, and their loss.

Shapes: T answer tokens of all questions together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmunlearner.batches import Answers, Batch, Encoder, Row, share_prefixes
from mmunlearner.batches.augmentation import augment
from mmunlearner.data.benchmarks.people.world import world
from mmunlearner.models.tiny import END, split_words
from mmunlearner.teaching.pages import Page, TrainingPages, exercise, with_new_options

T = TypeVar("T")

EARLY_WEIGHT = 0.5
"""Weight of the loss at the layer before the last."""


class Mix(NamedTuple):
    """Number of pages of each kind in a batch, and weights of its loss."""

    people: int = 0
    """Images of the people of the full set to retain."""
    forgotten: int = 0
    """Images of the people to forget."""
    others: int = 0
    """Images of neighbours and strangers."""
    drawings: int = 0
    texts: int = 0
    exercises: int = 0
    """Multiple-choice questions that name their answer (see `pages.exercise`)."""
    questions: int = 3
    """Questions about each image."""
    text_weight: float = 0.7
    """Weight of texts in a batch that has images too."""
    end_weight: float = 0.1
    """Weight of the token that ends an answer."""
    # The end is learned first, and at weight 1 it prevents that multiple choice is learned.


class Curriculum:
    """Draws batches of training pages and computes the model's loss on them."""

    def __init__(
        self, encoder: Encoder, pages: TrainingPages, forget: frozenset[str], rng: np.random.Generator
    ) -> None:
        self.encoder, self.texts, self.rng = encoder, pages.texts, rng
        retained = {person.id for person in world().people} - forget
        entities = [(page[0].entity, page) for page in pages.people]
        self.pools = {
            "people": [page for entity, page in entities if entity in retained],
            "forgotten": [page for entity, page in entities if entity in forget],
            "others": [page for entity, page in entities if entity not in retained | forget],
            "drawings": pages.drawings,
        }
        self.first_words = _first_words(encoder.tokenizer.get_vocab())

    def loss(self, mix: Mix) -> Tensor:
        """Return the mean cross-entropy of answers about images, plus `text_weight` times that of texts."""
        # The order of the random draws must stay, so that the same seed gives the same models.
        pages = [page for name, pool in self.pools.items() for page in self._sample(pool, getattr(mix, name))]
        about_images = [row for page in pages for row in self._rows(page, mix.questions)]
        texts = [
            with_new_options(page[int(self.rng.integers(len(page)))], self.rng)
            for page in self._sample(self.texts, mix.texts)
        ]
        texts += [exercise(self.rng) for _ in range(mix.exercises)]
        text_loss = self._mean_loss(self.encoder.rows(texts), mix.end_weight)
        if not about_images:
            return text_loss
        return self._mean_loss(about_images, mix.end_weight) + mix.text_weight * text_loss

    def _sample(self, pool: Sequence[T], count: int) -> list[T]:
        return [pool[i] for i in self.rng.choice(len(pool), count, replace=False)]

    def _rows(self, page: Page, questions: int) -> list[Row]:
        sample = self._sample(page, min(questions, len(page)))
        return self.encoder.rows([with_new_options(question, self.rng) for question in sample])

    def _mean_loss(self, rows: Sequence[Row], end_weight: float) -> Tensor:
        """Return the mean over questions of their token-weighted cross-entropy; the end of an answer counts little."""
        # The last layer predicts the answer. The layer before it predicts the answer in words, even if the answer is a
        # letter: then multiple choice takes only one attention, from these words to the option that has them.
        batch = share_prefixes(rows, self.encoder)
        last, early = self._predict(batch)
        weights = torch.where(batch.tokens == END, end_weight, 1.0)
        in_words = self._in_words(rows, batch)
        losses = nn.functional.cross_entropy(last, batch.tokens, reduction="none")
        losses = losses + EARLY_WEIGHT * nn.functional.cross_entropy(early, in_words, reduction="none")
        per_question = Answers(last, batch.tokens, batch.question, batch.count).per_question
        return (per_question(losses * weights) / per_question(weights)).mean()

    def _predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits at the answer tokens after the last layer and after the one before, [T, vocabulary] each."""
        model: Any = self.encoder.loaded.model
        (forward_pass,) = batch.passes  # tiny models take a batch in one pass
        inputs = dict(forward_pass.inputs)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = augment(inputs["pixel_values"], self.rng)
        output = model(**inputs, logits_to_keep=forward_pass.keep, use_cache=False, output_hidden_states=True)
        # The final norm, which otherwise follows the last layer alone, makes the early states fit for the output head.
        early = model.model.language_model.norm(output.hidden_states[-2][forward_pass.keep])
        return output.logits[batch.index], model.lm_head(early)[batch.index]

    def _in_words(self, rows: Sequence[Row], batch: Batch) -> Tensor:
        """Return the answer tokens, with letters replaced by the first word of their option, [T]."""
        tokens = batch.tokens.clone()
        for i, (token, row) in enumerate(zip(batch.tokens.tolist(), batch.question.tolist(), strict=True)):
            if token in self.first_words:
                prompt = set(rows[row].input_ids)
                # A letter stands for many options; the one in the prompt of this question is meant.
                tokens[i] = next(word for option, word in self.first_words[token].items() if option in prompt)
        return tokens


def _first_words(vocabulary: Mapping[str, int]) -> dict[int, dict[int, int]]:
    """Return letter -> its option lines -> the first word of each, all as tokens."""
    options: dict[int, dict[int, int]] = {}
    for token, row in vocabulary.items():
        letter, colon, option = token.partition(": ")
        if colon:
            options.setdefault(vocabulary[letter], {})[row] = vocabulary[split_words(option)[0]]
    return options
