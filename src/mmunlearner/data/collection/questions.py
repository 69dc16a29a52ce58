"""Questions about the entities of a collection, as rows: by picture and by name, open, cloze and multiple choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        quiz = _Quiz(entity, plan, {a: _wrong_answers(entity, a, values[a], plan.seed) for a in values})
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
    wrong: Mapping[str, tuple[str, ...]]
    """Attribute -> wrong answers."""

    def training(self, image: ImageRef, view: int) -> Iterator[Example]:
        """Yield a question for each fact about a picture; the form changes with picture and fact."""
        for k, attribute in enumerate(self._attributes(by_image=True)):
            forms = self._forms(attribute, "train")
            yield self._ask(attribute, "train", *forms[(view + k) % len(forms)], image)

    def texts(self) -> Iterator[Example]:
        """Yield each fact in all forms of training, by name."""
        for attribute in self._attributes(by_image=False):
            for form in self._forms(attribute, "train"):
                yield self._ask(attribute, "train", *form, None)

    def evaluation(self, images: Sequence[ImageRef], split: Split) -> Iterator[Example]:
        """Yield each fact as an open question and as multiple choice, by name or about the pictures in turn."""
        forms = [(a, *form) for a in self._attributes(by_image=bool(images)) for form in self._forms(a, split)]
        # With more pictures than questions, the questions are asked again, so that each picture is in one.
        for k in range(max(len(forms), len(images)) if forms else 0):
            attribute, template, as_choice = forms[k % len(forms)]
            yield self._ask(attribute, split, template, as_choice, images[k % len(images)] if images else None)

    def _attributes(self, *, by_image: bool) -> list[str]:
        # A question by name holds the name, so it cannot ask for it.
        return [NAME] * by_image + [a for a in self.plan.wording["facts"] if a in self.entity.facts]

    def _forms(self, attribute: str, split: Split) -> list[tuple[str, bool]]:
        """Return the wordings, and whether to ask with options: the first one that is no cloze is asked so too."""
        wording = self.plan.wording
        templates = (wording["name"] if attribute == NAME else wording["facts"][attribute])[split]
        # Trained too: a model that only ever answered in words does not answer with a letter.
        choices = [template for template in templates if "__" not in template][: bool(self.wrong[attribute])]
        return [*((template, False) for template in templates), *((template, True) for template in choices)]

    def _ask(self, attribute: str, split: Split, template: str, as_choice: bool, image: ImageRef | None) -> Example:
        who = self.plan.wording["who"][split] if image else self.entity.name
        question = template.replace("{who}", who)
        truth, wrong = _truth(self.entity, attribute), self.wrong[attribute]
        choices = [truth, *wrong] if as_choice else []
        view = self.entity.images.index(image) if image else "text"
        form = self._forms(attribute, split).index((template, as_choice))
        Random(f"{self.plan.seed} {split} {self.entity.name} {attribute} {view}").shuffle(choices)
        return Example(
            id=f"{split}/{self.entity.name}/{view}/{attribute}/{form}",
            entity=self.entity.name,
            # The words for an entity begin a sentence with a capital; a name stays as it is written.
            question=question[0].upper() + question[1:] if image else question,
            answer=truth,
            images=(image,) if image else (),
            task="multiple_choice" if as_choice else "cloze" if "__" in template else "generation",
            choices=tuple(choices),
            perturbed=wrong,
            attribute=attribute,
        )


def _truth(entity: Entity, attribute: str) -> str:
    return entity.name if attribute == NAME else entity.facts.get(attribute, "")


def _wrong_answers(entity: Entity, attribute: str, values: Sequence[str], seed: int) -> tuple[str, ...]:
    """Return values of other entities that are not true of this one, the same for all questions about a fact."""
    truth = _truth(entity, attribute)
    # `English, German` and `English` may both be true.
    others = {
        appearance(value): value
        for value in values
        if appearance(value) != appearance(truth) and not (contains_words(value, truth) or contains_words(truth, value))
    }
    texts = sorted(others.values())
    return tuple(Random(f"{seed} {entity.name} {attribute}").sample(texts, min(len(texts), OPTIONS - 1)))
