"""UMU-Bench (Wang et al. 2025): MLLMU-Bench's people; every fact is asked by image and by text.

Splits have MLLMU-Bench's names. A row also holds the training questions: MM_QA by image (the forget and retain sets)
and UM_QA by text (the text set). The key of a question is the fact that it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, NotRequired

from typing_extensions import TypedDict

from mmunlearner.core.validation import Json, Name, Text
from mmunlearner.data.benchmarks.person_rows import (
    PersonBenchmark,
    as_multiple_choice,
    load_people,
    mark_blank,
    perturbed_answers,
)
from mmunlearner.data.example import Example, Splits, Task
from mmunlearner.data.images import ImageRef
from mmunlearner.data.tables import Cell


class Question(TypedDict):
    question: Text
    answer: Text
    """For multiple choice letter and text, `B. nurse`."""
    options: NotRequired[dict[str, Text] | None]


class Modalities(TypedDict):
    """Fact -> its question."""

    unimodal: dict[str, Question]
    multimodal: dict[str, Question]


class Pairs(TypedDict):
    """Fact -> question, fact -> answer."""

    question: dict[str, Text]
    answer: dict[str, Text]


class Person(TypedDict):
    ID: Name
    image: ImageRef
    MM_QA: Annotated[Pairs, Json]
    UM_QA: Annotated[Pairs, Json]
    Classify: Annotated[Modalities, Json]
    Cloze: Annotated[Modalities, Json]
    Generation: Annotated[Modalities, Json]


TASKS: Mapping[str, Task] = {"Classify": "multiple_choice", "Generation": "generation", "Cloze": "cloze"}
"""Column -> task of its questions."""


def load(root: Path | str, *, forget: int = 5) -> Splits:
    """Load the benchmark for a forget set of `forget` per cent.

    Raises:
        DataError: a split is missing, empty or not in the layout; or a person is in the forget and in the retain set.
    """
    return load_people(Path(root), forget, UMU)


def _evaluation(row: Person, prefix: str, cell: Cell) -> list[Example]:
    # Checked here and not in `_pairs`: the training questions have no cell to name in an error.
    for column in ("MM_QA", "UM_QA"):
        pairs = row[column]
        if unpaired := sorted(pairs["question"].keys() ^ pairs["answer"].keys()):
            at = cell.inside(column)
            raise at.error("a question and an answer under each key", f"{unpaired[0]} in only one of them")
    items: list[Example] = []
    for modality, (column, task) in product(("multimodal", "unimodal"), TASKS.items()):
        images = (row["image"],) if modality == "multimodal" else ()
        questions: Mapping[str, Question] = row[column][modality]
        for fact, question in questions.items():
            at = cell.inside(column).inside(modality).inside(fact)
            item = Example(
                f"{prefix}/{'vqa' if images else 'qa'}/{task}/{fact}", row["ID"], mark_blank(question["question"]),
                question["answer"], images, task, attribute=fact,
            )  # fmt: skip
            if task == "multiple_choice":
                item = as_multiple_choice(
                    item, question.get("options") or {}, at.inside("options"), at.inside("answer")
                )
            items.append(item)
    # Open questions have no wrong answers of their own; the options about the same fact give them.
    choices = [item for item in items if item.choices]
    return [item if item.choices else replace(item, perturbed=perturbed_answers(item, choices)) for item in items]


def _pairs(pairs: Pairs, entity: str, images: tuple[ImageRef, ...], prefix: str) -> list[Example]:
    return [
        Example(f"{prefix}/{fact}", entity, question, pairs["answer"][fact], images, attribute=fact)
        for fact, question in pairs["question"].items()
    ]


UMU = PersonBenchmark(
    layout=lambda split: Person,
    evaluation=_evaluation,
    training=lambda root, people: [
        example
        for (_, row), prefix in zip(people.rows, people.id_prefixes(), strict=True)
        for example in _pairs(row["MM_QA"], row["ID"], (row["image"],), f"{prefix}/MM_QA")
    ],
    texts=lambda row, prefix: _pairs(row["UM_QA"], row["ID"], (), prefix),
    hints={},
)
