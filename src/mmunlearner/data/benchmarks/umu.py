"""UMU-Bench (Wang et al. 2025): MLLMU-Bench's people, with every fact asked by image and by text alike.

Splits are named as MLLMU-Bench's. A row holds its training questions too: MM_QA by image (the forget and retain sets)
and UM_QA by text (the text set). The key under which a question stands says which fact it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from mmunlearner.data.benchmarks.facts import wrong_answers
from mmunlearner.data.benchmarks.layout import FILE
from mmunlearner.data.benchmarks.questions import blank, with_options
from mmunlearner.data.benchmarks.shares import Dialect, Split, load_shares
from mmunlearner.data.example import Example, ImageRef, Splits, Task
from mmunlearner.data.schema import Cell, Json, Text

HINTS: Mapping[str, str] = {
    "Classification_Task": "This is MLLMU-Bench's layout: use --data.format mllmu",
    "metadata": "This is MLLMU-Bench's layout: use --data.format mllmu",
}


class Question(TypedDict):
    question: Text
    answer: Text
    """Multiple choice: letter and text, `B. nurse`."""
    options: NotRequired[dict[str, str] | None]


class Modalities(TypedDict):
    """Fact -> its question."""

    unimodal: dict[str, Question]
    multimodal: dict[str, Question]


class Pairs(TypedDict):
    """Fact -> question, fact -> answer."""

    question: dict[str, Text]
    answer: dict[str, Text]


class Person(TypedDict):
    ID: Text
    image: ImageRef
    MM_QA: Annotated[Pairs, Json]
    UM_QA: Annotated[Pairs, Json]
    Classify: Annotated[Modalities, Json]
    Cloze: Annotated[Modalities, Json]
    Generation: Annotated[Modalities, Json]


TASKS: Mapping[str, Task] = {"Classify": "multiple_choice", "Generation": "generation", "Cloze": "cloze"}
"""Column -> what it asks."""


def load(root: Path | str, *, forget: int = 5) -> Splits:
    """Read the benchmark for a forget set of `forget` per cent; without Test_Set or Retain_Set, without their columns.

    Raises:
        DataError: a split is missing, empty or not in the layout; or somebody is both to be forgotten and kept.
    """
    return load_shares(Path(root), forget, DIALECT)


def write_split(root: Path | str, split: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write ROOT/SPLIT/train-00000-of-00001.parquet, whole or not at all; returns the file.

    Raises:
        DataError: a row does not fit the layout; names row and column.
    """
    from mmunlearner.data.parquet import write_parquet

    return write_parquet(Path(root) / split / FILE, Person, rows)


def _asked(row: Person, place: str, cell: Cell) -> list[Example]:
    for column in ("MM_QA", "UM_QA"):
        _check_pairs(row[column], cell.inside(column))
    items = [
        item
        for modality, images in (("multimodal", (row["image"],)), ("unimodal", ()))
        for column, task in TASKS.items()
        for item in _items(row[column][modality], task, row["ID"], images, place, cell.inside(column).inside(modality))
    ]
    choices = [item for item in items if item.choices]
    return [item if item.choices else replace(item, perturbed=wrong_answers(item, choices)) for item in items]


def _items(
    questions: Mapping[str, Question], task: Task, entity: str, images: tuple[ImageRef, ...], place: str, at: Cell
) -> list[Example]:
    items = []
    for fact, asked in questions.items():
        cell = at.inside(fact)
        name = f"{place}/{'vqa' if images else 'qa'}/{task}/{fact}"
        item = Example(name, entity, blank(asked["question"]), asked["answer"], images, task, attribute=fact)
        if task == "multiple_choice":
            item = with_options(item, asked.get("options") or {}, cell.inside("options"), cell.inside("answer"))
        items.append(item)
    return items


def _check_pairs(pairs: Pairs, cell: Cell) -> None:
    if alone := sorted(pairs["question"].keys() ^ pairs["answer"].keys()):
        raise cell.error("a question and an answer under each key", f"{alone[0]} in only one of them")


def _pairs(pairs: Pairs, entity: str, images: tuple[ImageRef, ...], place: str) -> list[Example]:
    return [
        Example(f"{place}/{fact}", entity, question, pairs["answer"][fact], images, attribute=fact)
        for fact, question in pairs["question"].items()
    ]


def _trained(root: Path, people: Split) -> list[Example]:
    del root  # the people's own rows hold them
    rows = zip(people.rows, people.places(), strict=True)
    return [e for (_, row), place in rows for e in _pairs(row["MM_QA"], row["ID"], (row["image"],), f"{place}/MM_QA")]


def _texts(row: Person, place: str) -> list[Example]:
    return _pairs(row["UM_QA"], row["ID"], (), place)


DIALECT = Dialect(lambda _: Person, _asked, _trained, _texts, HINTS)
