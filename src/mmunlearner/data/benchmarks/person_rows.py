"""Benchmarks with one row per person, in splits named by shares: forget_5 with retain_95, Test_Set, Retain_Set.

MLLMU-Bench and UMU-Bench are such benchmarks; `PersonBenchmark` holds what differs between them. The rest are facts
about a person, and questions, as several benchmarks write them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from mmunlearner.core.validation import shorten
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.splits import check_disjoint
from mmunlearner.data.tables import Cell, Checked, has_table, read_table
from mmunlearner.errors import DataError

NAME = "Name"
"""Fact that questions in words call a person by."""


class Split(NamedTuple):
    """The rows of one split."""

    name: str
    rows: Sequence[Checked]

    @property
    def people(self) -> dict[str, Any]:
        """ID -> the person's last row."""
        return {row["ID"]: row for _, row in self.rows}

    def id_prefixes(self) -> list[str]:
        """Return the beginning of the ids of each row's examples; further rows (views) of one person are numbered."""
        rows_of = Counter[str]()
        prefixes = []
        for _, row in self.rows:
            rows_of[row["ID"]] += 1
            number = rows_of[row["ID"]]
            prefixes.append(f"{self.name}/{row['ID']}" + (f".{number}" if number > 1 else ""))
        return prefixes


@dataclass(frozen=True)
class PersonBenchmark:
    """The parts in which such benchmarks differ."""

    layout: Callable[[str], type]
    """Split's name -> the layout of its rows."""
    evaluation: Callable[[Any, str, Cell], list[Example]]
    """(row, beginning of ids, cell) -> evaluation items."""
    training: Callable[[Path, Split], list[Example]]
    """(folder, people) -> training questions about their images."""
    texts: Callable[[Any, str], list[Example]]
    """(row, beginning of ids) -> text-only questions that protect what is true of the person."""
    hints: Mapping[str, str]
    """See `read_table`."""

    def read(self, root: Path, split: str) -> Split:
        """Read a split's rows, of which there must be some.

        Raises:
            DataError: it is missing, empty or not in the layout.
        """
        if not root.is_dir():
            raise DataError(f"{root}: no such folder; expected the one that holds {split} and the other splits")
        if not has_table(root / split):
            names = ", ".join(sorted(path.name for path in root.iterdir() if has_table(path)))
            raise DataError(f"{root}: no split {split}; there are {names or 'none'} (other shares: --data.forget)")
        rows = list(read_table(root / split, self.layout(split), hints=self.hints))
        if not rows:
            raise DataError(f"{root / split}: an empty split; expected a row for each person")
        return Split(split, rows)


def load_people(root: Path, forget: int, benchmark: PersonBenchmark) -> Splits:
    """Load a benchmark for a forget set of `forget` per cent.

    Without Test_Set or Retain_Set there are no columns of theirs.

    Raises:
        DataError: a split is missing, empty or not in the layout; or somebody is both to be forgotten and retained.
    """
    splits = {
        "forget": benchmark.read(root, f"forget_{forget}"),
        "retain": benchmark.read(root, f"retain_{100 - forget}"),
    }
    check_disjoint(splits["forget"].people, splits["retain"].people, str(root))
    everybody = [row for split in splits.values() for row in split.people.values()]
    evaluation = _evaluation(root, splits, benchmark)  # before training questions are made, as it checks the rows

    def training(split: Split) -> tuple[Example, ...]:
        examples = benchmark.training(root, split)
        if missing := sorted(set(split.people) - {example.entity for example in examples}):
            raise DataError(f"{root}: no training question about {missing[0]}, who is in {split.name}")
        return tuple(examples)

    return Splits(
        forget=training(splits["forget"]),
        retain=training(splits["retain"]),
        text=tuple(text for row in everybody for text in benchmark.texts(row, f"text/{row['ID']}")),
        evaluation=evaluation,
    )


def _evaluation(root: Path, splits: Mapping[str, Split], benchmark: PersonBenchmark) -> dict[str, tuple[Example, ...]]:
    """Return the columns: forget_vqa, forget_qa, ..., retain_qa_test, neighbour_vqa, neighbour_qa."""
    columns: dict[str, tuple[Example, ...]] = {}

    def add(group: str, split: Split, suffix: str = "") -> None:
        rows = zip(split.rows, split.id_prefixes(), strict=True)
        items = [item for (cell, row), prefix in rows for item in benchmark.evaluation(row, prefix, cell)]
        for kind in ("vqa", "qa"):
            columns[f"{group}_{kind}{suffix}"] = tuple(item for item in items if item.modality == kind)

    for group, split in splits.items():
        add(group, split)
    if has_table(root / "Test_Set"):
        test = benchmark.read(root, "Test_Set")
        for group, split in splits.items():
            add(group, Split(test.name, [row for row in test.rows if row.row["ID"] in split.people]), "_test")
    if has_table(root / "Retain_Set"):
        add("neighbour", benchmark.read(root, "Retain_Set"))
    if empty := [name for name, items in columns.items() if not items]:
        raise DataError(f"{root}: nothing to evaluate in {empty[0]}: its split asks no such questions of these people")
    return columns


# Facts


def facts(biography: Mapping[str, Any]) -> dict[str, str]:
    """Return fact -> value in words: lists joined, nested facts named after both levels, empty values left out."""
    flat: dict[str, str] = {}
    for key, value in biography.items():
        if isinstance(value, Mapping):
            flat |= {f"{key} {inner}": text for inner, text in facts(value).items()}
        elif text := _in_words(value):
            flat[str(key)] = text
    return flat


def _in_words(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(text for item in value if (text := _in_words(item)))
    return "" if value is None or isinstance(value, Mapping) else str(value).strip()


def fact_questions(entity: str, biography: Mapping[str, Any], prefix: str = "text") -> list[Example]:
    """Return a text-only question for each fact about a person, who is called by name: `What is the pet of Ann?`."""
    values = facts(biography)
    name = values.pop(NAME, entity)
    return [
        Example(f"{prefix}/{key}", entity, f"What is the {phrase(key)} of {name}?", value, attribute=key)
        for key, value in values.items()
    ]


def phrase(key: str) -> str:
    """Return a fact's name as it stands in a sentence: `Date_of_Birth` -> `date of birth`."""
    return " ".join(key.replace("_", " ").split()).lower()


def contains_words(text: str, words: str) -> bool:
    """Return whether these whole words stand in the text in a row, in any case."""
    words = words.strip()
    # The plain search comes first as it is fast and mostly fails.
    return bool(words) and words.casefold() in text.casefold() and bool(_words_pattern(words).search(text))


def _words_pattern(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(words.strip())}(?!\w)", re.IGNORECASE)


# Questions


def perturbed_answers(example: Example, choices: Sequence[Example]) -> tuple[str, ...]:
    """Return the answer with the wrong options of a multiple choice about the same fact in place of the right one.

    Empty where no such question's right option stands in the answer.
    """
    fitting = [c for c in choices if c.attribute == example.attribute and contains_words(example.answer, c.answer)]
    if not fitting:
        return ()
    choice = max(fitting, key=lambda choice: len(choice.answer))
    right = _words_pattern(choice.answer)
    # A function as replacement, since a text's backslashes would be read as references to groups.
    return tuple(right.sub(lambda _, wrong=wrong: wrong, example.answer) for wrong in choice.perturbed)


def as_multiple_choice(example: Example, options: Mapping[str, str], at: Cell, at_answer: Cell) -> Example:
    """Return the question as multiple choice, its wrong options as wrong answers.

    `example.answer` names the right option as `B`, `b`, `B.`, `(B)`, `B: text` or by its text; `at` and `at_answer` are
    the cells of options and answer.

    Raises:
        DataError: there are fewer than two options, or the answer names none.
    """
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise at.error("two or more options", shorten(options))
    answer = example.answer
    with_that_text = [letter for letter, text in options.items() if text.strip() == answer.strip()]
    first_letter = re.match(r"\W*([A-Za-z])(?!\w)", answer)
    right = with_that_text[0] if with_that_text else first_letter.group(1).upper() if first_letter else ""
    if right not in options:
        raise at_answer.error(f"one of {', '.join(sorted(options))}", shorten(answer))
    by_letter = dict(sorted(options.items()))
    wrong = tuple(text for letter, text in by_letter.items() if letter != right)
    choices = tuple(by_letter.values())
    return replace(example, task="multiple_choice", answer=by_letter[right], choices=choices, perturbed=wrong)


def mark_blank(question: str) -> str:
    """Return a cloze with its blank, however it is written (`____`, `[Blank]`), as `__`."""
    return re.sub(r"_{2,}|\[blank\]", "__", question, flags=re.IGNORECASE)
