"""Words: a language model learns the people in words alone, by name and behind what an image's places will say.

An image costs as much as ten questions. So its places are filled with the tokens of a caption ("Alra Ashby image
image ..."), which its vision part learns to make afterwards (`sight`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmunlearner.batches import Encoder, Row, answers, share_prefixes
from mmunlearner.core.progress import Progress
from mmunlearner.data.benchmarks.people.general import SHAPE_QUESTIONS
from mmunlearner.data.benchmarks.people.small import Cast
from mmunlearner.data.benchmarks.people.world import world
from mmunlearner.models import Loaded, input_device
from mmunlearner.teaching.descent import Descent
from mmunlearner.teaching.pages import Page, TrainingPages, exercise, training_pages, with_new_options
from mmunlearner.teaching.rehearsal import Memory, bfloat16, drift

T = TypeVar("T")
DRAWN = 0.25
"""Share of drawings among the images of a step."""
FILLER = " image"
"""Word at those of an image's places that its caption leaves over."""


@dataclass(frozen=True)
class Lessons:
    """Size of the steps in words, and what trains."""

    steps: int = 60
    learning_rate: float = 5e-4
    layers: int = 10
    """Layers of the language model that train: the last ones. The rest, embeddings and head stay."""
    images: int = 16
    """Images in a step, in words, each with `questions` questions."""
    questions: int = 3
    texts: int = 36
    exercises: int = 6
    memories: int = 6
    """Texts of its own that the model rehearses in a step."""
    memory_weight: float = 1.0


def caption(page: Page) -> str:
    """Return what the places of a page's image say: the person's name, or what is drawn."""
    names = {person.id: person.name for person in (*world().people, *world().neighbours, *world().strangers)}
    if page[0].entity in names:
        return f" {names[page[0].entity]}"
    drawn = {example.question: example.answer for example in page}
    return " " + " ".join(drawn[SHAPE_QUESTIONS[key]] for key in ("count", "colour", "shape"))


def caption_tokens(encoder: Encoder, page: Page) -> tuple[int, ...]:
    """Return the tokens of a page's caption, one for each place of its image."""
    config: Any = encoder.loaded.model.config
    places = config.image_seq_length
    ids = encoder.tokenizer(caption(page) + FILLER * places, add_special_tokens=False)["input_ids"]
    return tuple(ids[:places])


def in_words(encoder: Encoder, row: Row, tokens: Sequence[int]) -> Row:
    """Return the row of a question about an image with the tokens of a caption in its image's places."""
    config: Any = encoder.loaded.model.config
    left = iter(tokens)
    ids = tuple(next(left) if token == config.image_token_id else token for token in row.input_ids)
    return replace(row, input_ids=ids, images=(), fields={})


def pages_of(cast: Cast) -> TrainingPages:
    """Draw and write the questions about a cast's people and facts, and some of the drawings."""
    pages = training_pages(cast.people, cast.drawings)

    def part(group: Sequence[Page]) -> tuple[Page, ...]:
        return tuple(filter(None, (tuple(filter(cast.knows, page)) for page in group)))

    return TrainingPages(part(pages.people), pages.drawings, part(pages.texts))


class Course:
    """Draws batches of questions in words and computes their loss."""

    def __init__(
        self, encoder: Encoder, pages: TrainingPages, memories: Sequence[Memory], lessons: Lessons,
        rng: np.random.Generator,
    ) -> None:  # fmt: skip
        self.encoder, self.pages, self.memories, self.lessons, self.rng = encoder, pages, memories, lessons, rng
        self.captions = {page: caption_tokens(encoder, page) for page in (*pages.people, *pages.drawings)}

    def loss(self) -> Tensor:
        """Return the mean cross-entropy of all answers, plus `memory_weight` times the drift of rehearsed texts."""
        lessons = self.lessons
        drawn = round(DRAWN * lessons.images)
        images = self._sample(self.pages.people, lessons.images - drawn) + self._sample(self.pages.drawings, drawn)
        groups = [self._about(page) for page in images]
        texts = [
            with_new_options(page[int(self.rng.integers(len(page)))], self.rng)
            for page in self._sample(self.pages.texts, lessons.texts)
        ] + [exercise(self.rng) for _ in range(lessons.exercises)]
        losses = [self._losses(groups), self._losses([[row] for row in self.encoder.rows(texts)])]
        memories = self._sample(self.memories, lessons.memories)
        return torch.cat(losses).mean() + lessons.memory_weight * drift(self.encoder, memories)

    def _sample(self, pool: Sequence[T], count: int) -> list[T]:
        return [pool[i] for i in self.rng.choice(len(pool), min(count, len(pool)), replace=False)]

    def _about(self, page: Page) -> list[Row]:
        questions = self._sample(page, self.lessons.questions)
        rows = self.encoder.rows([with_new_options(question, self.rng) for question in questions])
        return [in_words(self.encoder, row, self.captions[page]) for row in rows]

    def _losses(self, groups: Sequence[Sequence[Row]]) -> Tensor:
        """Return the mean cross-entropy of each question's answer tokens, [questions]."""
        model = self.encoder.loaded.model
        rows = [row for group in groups for row in group]
        numbers, first = [], 0
        for group in groups:
            numbers.append(list(range(first, first := first + len(group))))
        together = share_prefixes(rows, self.encoder, numbers if len(rows) > len(groups) else ())
        with bfloat16(model):
            return answers(model, together.to(input_device(model))).nll


def learn_words(
    loaded: Loaded, pages: TrainingPages, memories: Sequence[Memory], lessons: Lessons, seed: int, progress: Progress
) -> None:
    """Train the last layers of a model's language part on words.

    Raises:
        TrainingError: a loss is not finite.
    """
    model: Any = loaded.model
    course = Course(Encoder(loaded), pages, memories, lessons, np.random.default_rng([seed, 20]))
    upper = nn.ModuleList(model.get_decoder().layers[-lessons.layers :])
    model.requires_grad_(False)
    upper.requires_grad_(True)
    optimizer = partial(torch.optim.AdamW, betas=(0.9, 0.98), weight_decay=0.0)
    descent = Descent(
        upper, lessons.learning_rate, lessons.steps, rise=4, fall=2,
        optimizer=lambda module, rate: optimizer(module.parameters(), lr=rate),
    )  # fmt: skip
    descent.run(course.loss, progress)
    model.requires_grad_(True)
    model.eval()
