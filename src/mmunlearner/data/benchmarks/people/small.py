"""A small part of the embedded benchmark, for models that are slow: 24 people with four facts each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmunlearner.data.benchmarks.people import build
from mmunlearner.data.benchmarks.people.general import TRAIN_PICTURES
from mmunlearner.data.benchmarks.people.world import FACTS, forgotten, world
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.splits import forget_others


@dataclass(frozen=True)
class Cast:
    """The people, facts and drawings that a model is taught and asked about."""

    forget: tuple[str, ...]
    """Ids of the people to forget."""
    people: tuple[str, ...]
    """Ids of everybody with a name: to forget, to retain, neighbours and strangers."""
    facts: tuple[str, ...]
    drawings: int
    """Drawings to train on."""

    def knows(self, example: Example) -> bool:
        """Return whether a question is about one of these people (or nobody), and one of these facts (or the name)."""
        return example.entity in self._entities(example) and fact_of(example) in {*self.facts, ""}

    def _entities(self, example: Example) -> Sequence[str]:
        return self.people if re.fullmatch(r"\d{3}", example.entity) else (example.entity,)


def fact_of(example: Example) -> str:
    """Return the fact that a question asks for; empty if it asks for none."""
    if example.attribute:
        return example.attribute if example.attribute in FACTS else ""
    # Training questions name the fact in lower case.
    return next((fact for fact in FACTS if re.search(rf"\b{fact.lower()}\b", example.question)), "")


def full_cast() -> Cast:
    """Return everybody with all facts, 15 % of the people to forget."""
    ids = tuple(person.id for person in (*world().people, *world().neighbours, *world().strangers))
    return Cast(ids[: forgotten(15)], ids, tuple(FACTS), TRAIN_PICTURES)


def small_cast() -> Cast:
    """Return 24 people, six of them to forget, and eight strangers, with four facts."""
    people, neighbours, strangers = world().people[:18], world().neighbours[:6], world().strangers[:8]
    ids = tuple(person.id for person in (*people, *neighbours, *strangers))
    return Cast(ids[:6], ids, ("Occupation", "Residence", "Pet", "Instrument"), TRAIN_PICTURES)


def load(root: Path | str, *, forget_entities: Sequence[str] = ()) -> Splits:
    """Load 24 of the embedded people with four facts; six of them are to forget.

    Raises:
        DataError: `root` holds other files, or there is no such entity to forget.
    """
    cast = small_cast()
    splits = build.load(root)

    def part(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(example for example in examples if cast.knows(example))

    columns = {name: part(items) for name, items in splits.evaluation.items()}
    small = Splits(part(splits.forget), part(splits.retain), part(splits.text), columns, part(splits.background))
    return forget_others(small, forget_entities or cast.forget)
