"""A person's row in MLLMU-Bench's layout as examples: multiple choice, generation, cloze; by image and by text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from string import ascii_uppercase
from typing import Literal

from mmunlearner.data.benchmarks.facts import attribute, facts, wrong_answers
from mmunlearner.data.benchmarks.layout import ChoiceQuestion, Facts, OpenQuestion, TrainingPerson
from mmunlearner.data.example import Example, ImageRef, Task
from mmunlearner.data.schema import Cell, shown

Type = Literal["Image_Textual", "Pure_Text"]


def asked(row: Facts, images: Sequence[ImageRef], prefix: str, cell: Cell) -> list[Example]:
    """All that a row asks: question k about the image is asked of image k mod n; `prefix` begins the examples' ids.

    Raises:
        DataError: a right answer is not among the options.
    """
    known = facts(row["biography"])
    by_image = [replace(e, images=(images[k % len(images)],)) for k, e in enumerate(_asked(row, "Image_Textual", cell))]
    by_text = _asked(row, "Pure_Text", cell)
    named = [
        replace(e, id=f"{prefix}/{e.modality}/{e.id}", attribute=attribute(e.question, e.answer, known))
        for e in (*by_image, *by_text)
    ]
    choices = [e for e in named if e.choices]
    return [e if e.choices else replace(e, perturbed=wrong_answers(e, choices)) for e in named]


def _asked(row: Facts, kind: Type, cell: Cell) -> list[Example]:
    """The questions of one modality; their ids are `TASK/NUMBER`."""
    key = "Image_Textual_Questions" if kind == "Image_Textual" else "Pure_Text_Questions"
    at = cell.inside("Classification_Task").inside(key)
    choices = [_choice(q, row["ID"], k, at.inside(k)) for k, q in enumerate(row["Classification_Task"][key])]
    return [
        *choices,
        *_open(row["Generation_Task"], row["ID"], kind, "generation"),
        *_open(row["Mask_Task"], row["ID"], kind, "cloze"),
    ]


def _choice(question: ChoiceQuestion, entity: str, number: int, cell: Cell) -> Example:
    options, given = question["Options"], question["Correct_Answer"]
    text = Example(f"multiple_choice/{number}", entity, question["Question"], given)
    return with_options(text, options, cell.inside("Options"), cell.inside("Correct_Answer"))


def with_options(example: Example, options: Mapping[str, str], at: Cell, at_answer: Cell) -> Example:
    """The question as multiple choice, its wrong options as wrong answers.

    `example.answer` says which is right, as `B`, `b`, `B.`, `(B)`, `B: text` or the option's text; `at` and `at_answer`
    are where options and answer stand.

    Raises:
        DataError: there are fewer than two options, or none is meant.
    """
    if not 2 <= len(options) <= len(ascii_uppercase):
        raise at.error("two or more options", shown(options))
    given = example.answer
    by_text = [letter for letter, text in options.items() if text.strip() == given.strip()]
    letter = re.match(r"\W*([A-Za-z])(?!\w)", given)
    right = by_text[0] if by_text else letter.group(1).upper() if letter else ""
    if right not in options:
        raise at_answer.error(f"one of {', '.join(sorted(options))}", shown(given))
    ordered = dict(sorted(options.items()))
    wrong = tuple(text for letter, text in ordered.items() if letter != right)
    choices = tuple(ordered.values())
    return replace(example, task="multiple_choice", answer=ordered[right], choices=choices, perturbed=wrong)


def _open(questions: Sequence[OpenQuestion], entity: str, kind: Type, task: Task) -> list[Example]:
    own = [q for q in questions if q["Type"] == kind]
    return [
        Example(f"{task}/{k}", entity, blank(q["Question"]), q["Ground_Truth"], task=task) for k, q in enumerate(own)
    ]


def blank(question: str) -> str:
    """The question with its blank, however it is written, as `__`."""
    return re.sub(r"_{2,}|\[blank\]", "__", question, flags=re.IGNORECASE)


def trained(row: TrainingPerson, prefix: str, known: Mapping[str, str]) -> list[Example]:
    """A training row's questions, all about its image; `known` are the person's facts."""
    return [
        Example(
            f"{prefix}/{k}", row["ID"], q["Question"], q["Answer"], (row["image"],),
            attribute=attribute(q["Question"], q["Answer"], known),
        )
        for k, q in enumerate(row["metadata"])
    ]  # fmt: skip
