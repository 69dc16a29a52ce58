"""Prompts and targets, few-shot examples and candidate answers. Independent of any model.

The prompts are MLLMU-Bench's, zero-shot and few-shot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random
from string import ascii_uppercase
from typing import Any

from mmunlearner.data.example import Example
from mmunlearner.data.splits import GENERAL, cluster, group_of
from mmunlearner.errors import DataError

LETTER_INSTRUCTION = "Answer with the option's letter only."
CLOZE_INSTRUCTION = "Fill in the [Blank]."

Columns = Mapping[str, tuple[Example, ...]]
AnswerPools = Mapping[str, Sequence[str]]
"""Attribute -> all answers to it in a benchmark."""

_WRONG_ANSWERS = 5
"""Number of wrong answers to an item if the benchmark has none for it."""


def prompt(example: Example) -> str:
    """Return the text of the user's turn, without images: the shots with their answers, then the question."""
    shots = [f"{_ask(shot)}\nAnswer: {target(shot)}" for shot in example.shots]
    return "\n\n".join([*shots, _ask(example)])


def _ask(example: Example) -> str:
    # The wording is MLLMU-Bench's, with `[Blank]`; examples write a blank as `__`, the same for all benchmarks.
    if example.task == "multiple_choice":
        options = [f"{letter}: {choice}" for letter, choice in zip(ascii_uppercase, example.choices, strict=False)]
        return "\n".join([example.question, *options, LETTER_INSTRUCTION])
    if example.task == "cloze":
        return f"{example.question.replace('__', '[Blank]')}\n{CLOZE_INSTRUCTION}"
    return example.question


def target(example: Example) -> str:
    """Return the text of the assistant's turn: the right option's letter, or the answer in words."""
    if example.task == "multiple_choice":
        return ascii_uppercase[example.choices.index(example.answer)]
    return example.answer


def open_question(example: Example) -> str:
    """Return the prompt for an answer in words: for multiple choice the question without its options."""
    return example.question if example.task == "multiple_choice" else prompt(example)


def option_letters(example: Example) -> tuple[str, ...]:
    """Return the letters of a multiple choice's options; empty for other tasks."""
    return tuple(ascii_uppercase[: len(example.choices)]) if example.task == "multiple_choice" else ()


def item_fields(example: Example, column: str) -> dict[str, Any]:
    """Return the fields of an evaluation item's line that are the same for every model."""
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


# Candidate answers, whose log-likelihoods are compared


def answer_pools(columns: Iterable[Sequence[Example]]) -> AnswerPools:
    """Return all answers in the columns by attribute, sorted."""
    pools: defaultdict[str, set[str]] = defaultdict(set)
    for items in columns:
        for item in items:
            if item.attribute:
                pools[item.attribute].add(item.answer)
    return {attribute: tuple(sorted(answers)) for attribute, answers in pools.items()}


def candidate_answers(example: Example, pools: AnswerPools) -> tuple[str, ...]:
    """Return the answers in words whose likelihoods are compared: the truth, its paraphrase if any, wrong answers.

    Wrong answers are the benchmark's perturbed ones, or else the other options of a multiple choice, or else at most
    five answers for the same attribute that are true of other entities.
    """
    paraphrase = [example.paraphrase] if example.paraphrase else []
    wrong = [text for text in example.perturbed or example.choices if text and text != example.answer]
    if not wrong:
        others = [text for text in pools.get(example.attribute, ()) if text != example.answer]
        # Seeded by the item, so that every model and every run compares the same answers.
        wrong = Random(example.id).sample(others, min(len(others), _WRONG_ANSWERS))
    return (example.answer, *paraphrase, *wrong)


# Few-shot examples


def with_shots(columns: Columns, count: int, *, seed: int = 0) -> Columns:
    """Return the columns with `count` solved questions before each question, the same for the same seed and item.

    Shots are about other, retained entities and have the same task and modality; before a general question they are
    other general questions. Shots are shown in words alone: a row has only the images of its question.

    Raises:
        DataError: there are fewer than `count` questions about other entities.
    """
    if not count:
        return columns
    pools: defaultdict[tuple[str, str], list[Example]] = defaultdict(list)
    for column, items in columns.items():
        # Retained entities alone: a shot about one to forget would give away its facts.
        if group_of(column) in ("retain", GENERAL):
            for item in items:
                pools[_kind(column, item)].append(item)

    def with_its_shots(column: str, item: Example) -> Example:
        pool = pools[_kind(column, item)]
        # A shot about the item's own entity could contain the answer.
        others = [shot for shot in pool if cluster(column, shot) != cluster(column, item)]
        if len(others) < count:
            raise DataError(
                f"{column}: {item.id}: there are {len(others)} retained questions of its kind ({item.task}) about "
                f"others; evaluate.shots {count} cannot be shown"
            )
        # Seeded by the item, so that its shots do not depend on the items before it.
        return replace(item, shots=tuple(Random(f"{seed} {item.id}").sample(others, count)))

    return {column: tuple(with_its_shots(column, item) for item in items) for column, items in columns.items()}


def _kind(column: str, item: Example) -> tuple[str, str]:
    return GENERAL if group_of(column) == GENERAL else item.modality, item.task
