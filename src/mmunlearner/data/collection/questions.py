"""Questions about the entities of a collection, as rows: by picture and by name, open, cloze and multiple choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from mmunlearner.core.texts import appearance
from mmunlearner.data.benchmarks.person_rows import contains_words
from mmunlearner.data.benchmarks.rows import Row, as_row
from mmunlearner.data.collection.entities import Collection, Entity
from mmunlearner.data.collection.wording import NAME, Split, Wording
from mmunlearner.data.example import Example
from mmunlearner.data.images import ImageRef

OPTIONS = 4
"""Options of a multiple choice, where the other entities have as many values."""


@dataclass(frozen=True)
class Plan:
    """Decisions about the questions."""

    wording: Wording
    neighbours: frozenset[str] = frozenset()
    """Entities that the models know and that unlearning never sees."""
    held_out: int = 0
    """Pictures of each entity to hold out; 0: a quarter, at least one of two."""
    seed: int = 0


def make_rows(collection: Collection, plan: Plan) -> Iterator[Row]:
    """Yield all rows: each picture is trained on or held out; each fact is asked by picture and by name."""
    values = {NAME: [entity.name for entity in collection.entities]}
    values |= {a: [e.facts[a] for e in collection.entities if a in e.facts] for a in plan.wording["facts"]}
    for entity in collection.entities:
        group: Literal["neighbour"] | None = "neighbour" if entity.name in plan.neighbours else None
        quiz = _Quiz(entity, plan, values)
        trained, held_out = divide_views(entity, plan)
        for number, image in enumerate(trained):
            for example in quiz.training(image, number):
                yield as_row(example, "train", group=group)
        for example in quiz.texts():
            yield as_row(example, "train", group=group)
        views: Mapping[Split, Sequence[ImageRef]] = {"eval": trained, "test": held_out}
        for split, images in views.items():
            for example in (*(quiz.evaluation(images, split) if images else ()), *quiz.evaluation((), split)):
                yield as_row(example, split, group=group)


def divide_views(entity: Entity, plan: Plan) -> tuple[list[ImageRef], list[ImageRef]]:
    """Return the pictures of an entity to train on and to hold out, each in the order of the files.

    One picture at least is trained on, so nothing is held out of a single one.
    """
    count = min(plan.held_out or max(1, len(entity.images) // 4), len(entity.images) - 1)
    # Drawn: the last files may be of another day than the first ones. Seeded by the name: the same with more entities.
    held_out = set(Random(f"{plan.seed} {entity.name}").sample(range(len(entity.images)), count))
    numbered = list(enumerate(entity.images))
    return [image for k, image in numbered if k not in held_out], [image for k, image in numbered if k in held_out]


@dataclass(frozen=True)
class _Quiz:
    """The questions about one entity."""

    entity: Entity
    plan: Plan
    values: Mapping[str, Sequence[str]]
    """Attribute -> the values of all entities."""

    def training(self, image: ImageRef, view: int) -> Iterator[Example]:
        """Yield a question for each fact about a picture; the wordings change with picture and fact."""
        for k, attribute in enumerate(self._attributes(by_image=True)):
            templates = self._templates(attribute, "train")
            yield self._open(attribute, "train", templates[(view + k) % len(templates)], image)

    def texts(self) -> Iterator[Example]:
        """Yield each fact in all wordings of training, by name."""
        for attribute in self._attributes(by_image=False):
            for template in self._templates(attribute, "train"):
                yield self._open(attribute, "train", template, None)

    def evaluation(self, images: Sequence[ImageRef], split: Split) -> Iterator[Example]:
        """Yield each fact as an open question and as multiple choice, by name or about the pictures in turn."""
        forms = [
            (attribute, template, as_choice)
            for attribute in self._attributes(by_image=bool(images))
            for template in self._templates(attribute, split)
            for as_choice in (False, True)
            if not as_choice or ("__" not in template and self._wrong(attribute))
        ]
        # With more pictures than questions, the questions are asked again, so that each picture is in one.
        for k in range(max(len(forms), len(images)) if forms else 0):
            attribute, template, as_choice = forms[k % len(forms)]
            question = self._open(attribute, split, template, images[k % len(images)] if images else None)
            yield self._choice(question, split) if as_choice else question

    def _attributes(self, *, by_image: bool) -> list[str]:
        # A question by name holds the name, so it cannot ask for it.
        return [NAME] * by_image + [a for a in self.plan.wording["facts"] if a in self.entity.facts]

    def _templates(self, attribute: str, split: Split) -> list[str]:
        wording = self.plan.wording
        return (wording["name"] if attribute == NAME else wording["facts"][attribute])[split]

    def _open(self, attribute: str, split: Split, template: str, image: ImageRef | None) -> Example:
        who = self.plan.wording["who"][split] if image else self.entity.name
        question = template.replace("{who}", who)
        # The words for an entity begin a sentence with a capital; a name stays as it is written.
        question = question[0].upper() + question[1:] if image else question
        view = self.entity.images.index(image) if image else "text"
        number = self._templates(attribute, split).index(template)
        return Example(
            id=f"{split}/{self.entity.name}/{view}/{attribute}/{number}",
            entity=self.entity.name,
            question=question,
            answer=self._truth(attribute),
            images=(image,) if image else (),
            task="cloze" if "__" in template else "generation",
            perturbed=self._wrong(attribute),
            attribute=attribute,
        )

    def _choice(self, question: Example, split: Split) -> Example:
        choices = [question.answer, *question.perturbed]
        Random(f"{self.plan.seed} {split} {question.entity} {question.attribute}").shuffle(choices)
        return replace(question, id=f"{question.id}/choice", task="multiple_choice", choices=tuple(choices))

    def _truth(self, attribute: str) -> str:
        return self.entity.name if attribute == NAME else self.entity.facts[attribute]

    def _wrong(self, attribute: str) -> tuple[str, ...]:
        """Return values of other entities that are not true of this one, the same for all questions about a fact."""
        truth = self._truth(attribute)
        # `English, German` and `English` may both be true.
        others = {
            appearance(value): value
            for value in self.values[attribute]
            if appearance(value) != appearance(truth)
            and not (contains_words(value, truth) or contains_words(truth, value))
        }
        texts = sorted(others.values())
        return tuple(
            Random(f"{self.plan.seed} {self.entity.name} {attribute}").sample(texts, min(len(texts), OPTIONS - 1))
        )
