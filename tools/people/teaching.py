"""How the models are taught: batches of lessons, and how far a model is from their answers.

Shapes: T answer tokens of all questions together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmunlearner import batches as packed
from mmunlearner.batches import Answers, Encoder, Row, share_prefixes
from mmunlearner.batches.augmentation import augment
from mmunlearner.data.benchmarks.people.lessons import Lesson, Lessons
from mmunlearner.data.benchmarks.people.questions import again, exercise
from mmunlearner.data.benchmarks.people.world import world
from mmunlearner.models.tiny import END, split_words

T = TypeVar("T")

EARLY_WEIGHT = 0.5
"""Of what the layer before the last is to say."""


class Batch(NamedTuple):
    """How many of each kind are in a batch."""

    people: int = 0
    """Pictures of the people of the full set that are not to be forgotten."""
    forgotten: int = 0
    """Pictures of those who are."""
    others: int = 0
    """Pictures of neighbours and strangers."""
    drawings: int = 0
    texts: int = 0
    exercises: int = 0
    """Multiple choice about nothing."""
    questions: int = 3
    """Asked about each picture."""
    text_weight: float = 0.7
    """Of texts, where there are pictures beside them."""
    end_weight: float = 0.1
    """Of an answer's end. At 1 the end, which is learned first, keeps multiple choice from being learned at all."""


class Teacher:
    """Draws batches of lessons and says how far the model is from their answers."""

    def __init__(self, encoder: Encoder, taught: Lessons, forget: frozenset[str], rng: np.random.Generator) -> None:
        self.encoder, self.texts, self.rng = encoder, taught.texts, rng
        retained = {person.id for person in world().people} - forget
        self.pools = {
            "people": [lesson for lesson in taught.people if lesson.about in retained],
            "forgotten": [lesson for lesson in taught.people if lesson.about in forget],
            "others": [lesson for lesson in taught.people if lesson.about not in retained | forget],
            "drawings": taught.drawings,
        }
        self.letters = _letters(encoder.tokenizer.get_vocab())

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the answers about pictures, plus `text_weight` times that of the texts'."""
        drawn = [lesson for name, pool in self.pools.items() for lesson in self._some(pool, getattr(batch, name))]
        shown = [row for lesson in drawn for row in self._about(lesson, batch.questions)]
        pairs = [
            again(subject[int(self.rng.integers(len(subject)))], self.rng)
            for subject in self._some(self.texts, batch.texts)
        ]
        pairs += [exercise(self.rng) for _ in range(batch.exercises)]
        read = self._mean([self.encoder.conversation(*pair, ()) for pair in pairs], batch.end_weight)
        return self._mean(shown, batch.end_weight) + batch.text_weight * read if shown else read

    def _some(self, pool: Sequence[T], count: int) -> list[T]:
        return [pool[i] for i in self.rng.choice(len(pool), count, replace=False)]

    def _about(self, lesson: Lesson, questions: int) -> list[Row]:
        asked = self._some(lesson.pairs, min(questions, len(lesson.pairs)))
        return [self.encoder.conversation(*again(pair, self.rng), (lesson.image,)) for pair in asked]

    def _mean(self, rows: Sequence[Row], end_weight: float) -> Tensor:
        """Weighted mean of the questions' cross-entropies, in which the end of an answer counts little.

        Besides the answer at the last layer, the layer before is to say the answer in words, also where a letter is
        asked for: then all that multiple choice takes is one attention from these words to the option that has them.
        """
        batch = share_prefixes(rows, self.encoder)
        last, early = self._predict(batch)
        weights = torch.where(batch.tokens == END, end_weight, 1.0)
        in_words = self._in_words(rows, batch)
        losses = nn.functional.cross_entropy(last, batch.tokens, reduction="none")
        losses = losses + EARLY_WEIGHT * nn.functional.cross_entropy(early, in_words, reduction="none")
        per_question = Answers(last, batch.tokens, batch.question, batch.count).per_question
        return (per_question(losses * weights) / per_question(weights)).mean()

    def _predict(self, batch: packed.Batch) -> tuple[Tensor, Tensor]:
        """Logits at the answer tokens after the last layer and after the one before, [T, vocabulary] each."""
        model: Any = self.encoder.loaded.model
        (one,) = batch.passes
        inputs = dict(one.inputs)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = augment(inputs["pixel_values"], self.rng)
        out = model(**inputs, logits_to_keep=one.keep, use_cache=False, output_hidden_states=True)
        early = model.model.language_model.norm(out.hidden_states[-2][one.keep])
        return out.logits[batch.index], model.lm_head(early)[batch.index]

    def _in_words(self, rows: Sequence[Row], batch: packed.Batch) -> Tensor:
        """The answer tokens, letters replaced by the first word of their option, [T]."""
        found = batch.tokens.clone()
        for i, (token, row) in enumerate(zip(batch.tokens.tolist(), batch.question.tolist(), strict=True)):
            if token in self.letters:
                asked = set(rows[row].input_ids)
                found[i] = next(word for option, word in self.letters[token].items() if option in asked)
        return found


def _letters(vocabulary: Mapping[str, int]) -> dict[int, dict[int, int]]:
    """Letter -> its option lines -> the first word of each, all as tokens."""
    found: dict[int, dict[int, int]] = {}
    for token, row in vocabulary.items():
        letter, colon, option = token.partition(": ")
        if colon:
            found.setdefault(vocabulary[letter], {})[row] = vocabulary[split_words(option)[0]]
    return found
