"""What is asked about an item and which texts are weighed as its answers. Knows nothing of models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from string import ascii_uppercase
from typing import Any
from zlib import crc32

from mmunlearner.data import Example, prompt, target

Pools = Mapping[str, Sequence[str]]
"""Attribute -> the answers that a benchmark gives to it."""

_DRAWN = 5


def letters(example: Example) -> tuple[str, ...]:
    """The options' letters; empty for other tasks."""
    return tuple(ascii_uppercase[: len(example.choices)]) if example.task == "multiple_choice" else ()


def open_prompt(example: Example) -> str:
    """The question that answers in words are weighed for: without options where it is multiple choice."""
    return example.question if example.task == "multiple_choice" else prompt(example)


def answer_pools(columns: Iterable[Sequence[Example]]) -> Pools:
    """Every answer that a benchmark gives to each attribute, sorted."""
    pools: dict[str, set[str]] = defaultdict(set)
    for items in columns:
        for item in items:
            if item.attribute:
                pools[item.attribute].add(item.answer)
    return {attribute: tuple(sorted(answers)) for attribute, answers in pools.items()}


def wrong_answers(example: Example, pools: Pools) -> tuple[str, ...]:
    """The benchmark's perturbed answers. Where there are none: the other options of a multiple choice, or what is
    true of others (at most five, drawn by the item's id from the answers to the same attribute).
    """
    given = tuple(text for text in example.perturbed or example.choices if text and text != example.answer)
    others = [text for text in pools.get(example.attribute, ()) if text != example.answer]
    return given or tuple(Random(example.id).sample(others, min(len(others), _DRAWN)))


def answers_in_words(example: Example, pools: Pools) -> tuple[str, ...]:
    """The truth, its paraphrase if there is one, the wrong answers."""
    return (example.answer, *([example.paraphrase] if example.paraphrase else []), *wrong_answers(example, pools))


def spread(examples: Sequence[Example], limit: int) -> list[Example]:
    """At most `limit` items (0: all), taken from the entities in turn and left in their order.

    Which items of an entity come first is drawn by their ids, so that no kind of question is left out.
    """
    if not limit or len(examples) <= limit:
        return list(examples)
    seen: dict[str, int] = {}
    turns = []
    for place in sorted(range(len(examples)), key=lambda place: crc32(examples[place].id.encode())):
        entity = examples[place].entity
        seen[entity] = seen.get(entity, 0) + 1
        turns.append((seen[entity], place))
    return [examples[place] for place in sorted(place for _, place in sorted(turns)[:limit])]


def describe(example: Example, column: str) -> dict[str, Any]:
    """The part of an item's line that no model has a say in."""
    line: dict[str, Any] = {
        "id": example.id,
        "entity": example.entity,
        "column": column,
        "task": example.task,
        "modality": example.modality,
        "attribute": example.attribute,
        "image": " ".join(example.image_keys) or None,
        "prompt": prompt(example),
        "target": target(example),
        "answer": example.answer,
    }
    return line | ({"choices": list(example.choices)} if example.choices else {})
