"""Benchmarks with one row per person, in splits named by shares: forget_5 with retain_95, Test_Set, Retain_Set.

MLLMU-Bench and UMU-Bench are such benchmarks; `PersonBenchmark` holds their differences. The second half of the module
reads facts about a person, and questions, in the forms that several benchmarks share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from mmunlearner.core.texts import appearance, is_blank
from mmunlearner.core.validation import one_line, shorten
from mmunlearner.core.words import is_unspaced, words
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.splits import check_splits
from mmunlearner.data.tables import Cell, Checked, has_table, read_table
from mmunlearner.errors import DataError

NAME = "Name"
"""The fact that is a person's name: questions in words call the person by it."""
BESIDE: Mapping[str, str] = {"neighbour": "Retain_Set", "stranger": "Stranger_Set"}
"""Group of people beside the unlearning sets -> its split. The published benchmarks have no Stranger_Set."""


class Split(NamedTuple):
    """The rows of one split."""

    name: str
    rows: Sequence[Checked]

    @property
    def people(self) -> dict[str, Any]:
        """ID -> the last row of the person."""
        return {row["ID"]: row for _, row in self.rows}

    def id_prefixes(self) -> list[str]:
        """Return the beginning of the example ids for each row."""
        rows_of = Counter[str]()
        prefixes = []
        for _, row in self.rows:
            rows_of[row["ID"]] += 1
            number = rows_of[row["ID"]]  # a person may have several rows (views), and ids must differ
            prefixes.append(f"{self.name}/{row['ID']}" + (f".{number}" if number > 1 else ""))
        return prefixes


@dataclass(frozen=True)
class PersonBenchmark:
    """The differences between such benchmarks."""

    layout: Callable[[str], type]
    """Name of a split -> layout of its rows."""
    evaluation: Callable[[Any, str, Cell], list[Example]]
    """(row, beginning of the ids, cell) -> evaluation items."""
    training: Callable[[Path, Split], list[Example]]
    """(folder, people) -> training questions about their images."""
    texts: Callable[[Any, str], list[Example]]
    """(row, beginning of the ids) -> text-only questions that protect the knowledge about the person."""
    hints: Mapping[str, str]
    """See `read_table`."""

    def read(self, root: Path, split: str) -> Split:
        """Read the rows of a split.

        Raises:
            DataError: the split is missing, has no rows or is not in the layout.
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

    Without Test_Set, or the splits of `BESIDE`, the columns from them are absent.

    Raises:
        DataError: a split is missing, empty or not in the layout; or a person is in the forget and in the retain set.
    """
    splits = {
        "forget": benchmark.read(root, f"forget_{forget}"),
        "retain": benchmark.read(root, f"retain_{100 - forget}"),
    }
    if both := sorted(splits["forget"].people.keys() & splits["retain"].people.keys()):
        names = " and in ".join(split.name for split in splits.values())
        raise DataError(f"{root}: {both[0]} is both in {names}; it must be in one")
    everybody = [row for split in splits.values() for row in split.people.values()]
    evaluation = _evaluation(root, splits, benchmark)  # first, as it checks the rows that training questions need

    def training(split: Split) -> tuple[Example, ...]:
        examples = benchmark.training(root, split)
        if missing := sorted(set(split.people) - {example.entity for example in examples}):
            raise DataError(f"{root}: no training question about {missing[0]}, who is in {split.name}")
        return tuple(examples)

    whole = Splits(
        forget=training(splits["forget"]),
        retain=training(splits["retain"]),
        text=tuple(text for row in everybody for text in benchmark.texts(row, f"text/{row['ID']}")),
        evaluation=evaluation,
    )
    return check_splits(whole, str(root))


def _evaluation(root: Path, splits: Mapping[str, Split], benchmark: PersonBenchmark) -> dict[str, tuple[Example, ...]]:
    """Return the columns: forget_vqa, forget_qa, ..., retain_qa_test, neighbour_vqa, ..., stranger_qa."""
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
        # Test_Set holds everybody, so its rows are divided by the people of the forget and the retain split.
        for group, split in splits.items():
            add(group, Split(test.name, [row for row in test.rows if row.row["ID"] in split.people]), "_test")
    for group, name in BESIDE.items():
        if has_table(root / name):
            add(group, _beside(benchmark.read(root, name), splits))
    if empty := [name for name, items in columns.items() if not items]:
        raise DataError(f"{root}: nothing to evaluate in {empty[0]}: its split asks no such questions of these people")
    return columns


def _beside(beside: Split, splits: Mapping[str, Split]) -> Split:
    """Return people of neither split; those whose ID belongs to another person in one of the splits get a new one.

    IDs may be counted anew in each set, so the names decide whether two rows are about the same person.
    """
    people = splits["forget"].people | splits["retain"].people

    def renamed(row: Any) -> Any:
        names = [appearance(facts(r.get("biography", {})).get(NAME, "")) for r in (row, people.get(row["ID"], row))]
        return row if names[0] == names[1] else row | {"ID": f"{beside.name}/{row['ID']}"}

    return Split(beside.name, [Checked(cell, renamed(row)) for cell, row in beside.rows])


# Facts


def facts(biography: Mapping[str, Any]) -> dict[str, str]:
    """Return fact -> value in words: lists joined, nested facts named by both levels, empty values left out."""
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
    text = "" if value is None or isinstance(value, Mapping) else str(value).strip()
    return "" if is_blank(text) else text


def fact_questions(entity: str, biography: Mapping[str, Any], prefix: str = "text") -> list[Example]:
    """Return a text-only question for each fact about a person, called by name: `What is the pet of Ann?`."""
    values = facts(biography)
    name = values.pop(NAME, entity)  # taken out: a question for the name that contains the name has no use
    return [
        Example(f"{prefix}/{key}", entity, f"What is the {phrase(key)} of {name}?", value, attribute=key)
        for key, value in values.items()
    ]


def phrase(key: str) -> str:
    """Return a fact's name in the form for a sentence: `Date_of_Birth` -> `date of birth`."""
    return " ".join(key.replace("_", " ").split()).lower()


def contains_words(text: str, answer: str) -> bool:
    """Return whether the text contains an answer's words as whole words, in this order, in upper or lower case."""
    answer = answer.strip()
    # The plain search is fast and mostly finds nothing, which saves the regular expression.
    return bool(answer) and answer.casefold() in text.casefold() and bool(_words_pattern(answer).search(text))


def _words_pattern(answer: str) -> re.Pattern[str]:
    answer = answer.strip()
    # Not `\b`, which finds no border beside words that begin or end with a sign, such as `C++`. Where words are written
    # without spaces there is no border at all.
    before = "" if is_unspaced(answer[:1]) else r"(?<!\w)"
    after = "" if is_unspaced(answer[-1:]) else r"(?![\w+#])"
    return re.compile(f"{before}{re.escape(answer)}{after}", re.IGNORECASE)


# Questions


def perturbed_answers(example: Example, choices: Sequence[Example]) -> tuple[str, ...]:
    """Return the answer with its fact replaced by each wrong option of a multiple choice about the same fact.

    Empty if the answer contains the right option of no such question.
    """
    fitting = [c for c in choices if c.attribute == example.attribute and contains_words(example.answer, c.answer)]
    if not fitting:
        return ()
    # The longest: a right option may be part of another one's text.
    choice = max(fitting, key=lambda choice: len(choice.answer))
    right = _words_pattern(choice.answer)
    # The replacement is a function, since backslashes in a text would be read as references to groups.
    return tuple(right.sub(lambda _, wrong=wrong: wrong, example.answer) for wrong in choice.perturbed)


def as_multiple_choice(example: Example, options: Mapping[str, str], at: Cell, at_answer: Cell) -> Example:
    """Return the question as multiple choice, with its wrong options as perturbed answers.

    `example.answer` is the right option's text, or its letter as `B`, `b`, `B.`, `(B)`, `B: text` or `B text`; `at`
    and `at_answer` are the cells of options and answer.

    Raises:
        DataError: there are fewer than two options, or the answer names none, or one by its letter and another one by
            its text.
    """
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise at.error("two or more options", shorten(options))
    right = _right_letter(example.answer, options)
    if right not in options:
        raise at_answer.error(
            f"one of {one_line(', '.join(sorted(options)))}, or the text of one", shorten(example.answer)
        )
    by_letter = dict(sorted(options.items()))
    wrong = tuple(text for letter, text in by_letter.items() if letter != right)
    choices = tuple(by_letter.values())
    return replace(example, task="multiple_choice", answer=by_letter[right], choices=choices, perturbed=wrong)


def _right_letter(answer: str, options: Mapping[str, str]) -> str:
    """Return the letter of the option that an answer cell names; empty if it names none."""
    # The text comes before the letter: an option may itself be a letter (a blood group) or begin with `A ...`.
    if letter := _letter_of(answer, options):
        return letter
    label = re.fullmatch(r"[\s(\[*]*([A-Za-z])(?![\w+#])([\s.:)\]*-]*)(.*)", answer, re.DOTALL)
    if not label:
        return ""
    letter, marks, text = label.group(1).upper(), label.group(2), label.group(3)
    named = _letter_of(text, options)
    # Without a mark behind it `A` is an article, unless the option's own text follows.
    is_label = bool(re.search(r"([.:)\]]\**|\s-)\s+$", marks))
    return letter if not text or named == letter or (is_label and not named) else ""


def _letter_of(text: str, options: Mapping[str, str]) -> str:
    """Return the letter of the option with that text, as it stands or else as the only one with the same words."""
    exact = [letter for letter, option in options.items() if option.strip() == text.strip()]
    alike = [letter for letter, option in options.items() if words(option) == words(text)]
    return exact[0] if exact else alike[0] if len(alike) == 1 else ""


def mark_blank(question: str) -> str:
    """Return a cloze with its blank written as `__`; benchmarks write `____` or `[Blank]` too."""
    return re.sub(r"_{2,}|\[blank\]", "__", question, flags=re.IGNORECASE)
