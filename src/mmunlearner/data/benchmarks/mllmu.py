"""MLLMU-Bench (Liu et al. 2024, arXiv 2410.22108): a folder per split, a row per person.

On disk:

    Full_Set/train-00000-of-00001.parquet   everybody: `Person`
    Test_Set/...                            everybody, other images and paraphrased questions: `HeldOutPerson`
    Retain_Set/...                          people outside of the training set (celebrities): `Person`
    Stranger_Set/...                        further people outside of it; not in the published benchmark: `Person`
    forget_5/..., retain_95/...             the parts of Full_Set (also 10 / 90, 15 / 85, ...): `Person`
    ft_Data/...                             everybody's training questions: `TrainingPerson`
    baseline_train_split/forget_5/..., ...  the parts of ft_Data: `TrainingPerson`

As splits:

    forget, retain    training questions of baseline_train_split/forget_X and retain_Y, or of ft_Data by ID
    text              `What is the {fact} of {Name}?` for everybody in forget_X and retain_Y (that is, in Full_Set)
    forget_*, retain_*              questions of forget_X and retain_Y
    forget_*_test, retain_*_test    questions of Test_Set about the same people with other images; question k about the
                                    images of a person is asked of image k mod n
    neighbour_*, stranger_*         questions of Retain_Set, of Stranger_Set
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict

from mmunlearner.core.validation import Json, Name, Text
from mmunlearner.data.benchmarks.person_rows import (
    PersonBenchmark,
    Split,
    as_multiple_choice,
    contains_words,
    fact_questions,
    facts,
    load_people,
    mark_blank,
    perturbed_answers,
    phrase,
)
from mmunlearner.data.example import Example, Splits, Task
from mmunlearner.data.images import ImageRef
from mmunlearner.data.tables import Cell, has_table, write_parquet
from mmunlearner.errors import DataError

FILE = "train-00000-of-00001.parquet"
TRAINING = ("ft_Data", "baseline_train_split/")
"""Splits with training questions: their names begin so."""

HINTS: Mapping[str, str] = {
    "images": "`images`, a list, belongs to Test_Set alone: is this Test_Set under another name?",
    "image": "Test_Set holds a list, `images`: is this Full_Set under another name, or a Test_Set of an early release?",
    "metadata": "`metadata` belongs to training splits (ft_Data, baseline_train_split), which ask nothing else",
    "Classification_Task": "This is an evaluation split; training splits hold `metadata`",
    "Image_Textual_Questions": "The tasks stand side by side; MLLMU-Bench has them within `Classification_Task`",
}
"""Column of another split -> last sentence of the error."""


class ChoiceQuestion(TypedDict):
    Question: Text
    Options: dict[str, Text]
    """Letter -> text: A to D in MLLMU-Bench."""
    Correct_Answer: Text
    """A letter."""


class ChoiceQuestions(TypedDict):
    Image_Textual_Questions: list[ChoiceQuestion]
    Pure_Text_Questions: list[ChoiceQuestion]


class OpenQuestion(TypedDict):
    Type: Literal["Image_Textual", "Pure_Text"]
    Question: Text
    """In `Mask_Task` it has a blank, written `__`."""
    Ground_Truth: Text


class Biography(TypedDict):
    """A person's facts, and the questions about them."""

    ID: Name
    biography: Annotated[dict[str, object], Json]
    """Fact -> value, among them `Name`."""
    question: NotRequired[str | None]
    """The benchmark's open request (`Describe ...`) and its answer. This package does not use them."""
    answer: NotRequired[str | None]
    Classification_Task: ChoiceQuestions
    Generation_Task: list[OpenQuestion]
    Mask_Task: list[OpenQuestion]


class WithImage(TypedDict):
    ID: Name
    image: ImageRef


class WithImages(TypedDict):
    ID: Name
    images: list[ImageRef]


class Person(WithImage, Biography):
    """A row of Full_Set and its parts, columns in the order of the published files."""


class HeldOutPerson(WithImages, Biography):
    """A row of Test_Set."""


class QuestionAnswer(TypedDict):
    Question: Text
    Answer: Text


class TrainingPerson(TypedDict):
    """A row of ft_Data and its parts."""

    ID: Name
    image: ImageRef
    metadata: Annotated[list[QuestionAnswer], Json]


def layout_of(split: str) -> type:
    """Return the layout of a split's rows, by the split's name."""
    if split.startswith(TRAINING):
        return TrainingPerson
    return HeldOutPerson if split == "Test_Set" else Person


def load(root: Path | str, *, forget: int = 5) -> Splits:
    """Load the benchmark for a forget set of `forget` per cent.

    Raises:
        DataError: a split is missing, empty or not in the layout; or a person is in the forget and in the retain set.
    """
    return load_people(Path(root), forget, MLLMU)


def write_split(root: Path | str, split: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write ROOT/SPLIT/train-00000-of-00001.parquet, completely or not at all; return the file.

    A row has the columns of `layout_of(split)`. Images are encoded bytes (PNG, JPEG), PIL images or `ImageRef`;
    `biography` and `metadata` may be given as JSON text or as values. Equal rows give equal bytes.

    Raises:
        DataError: a row does not fit the layout; names row and column.
    """
    return write_parquet(Path(root) / split / FILE, layout_of(split), rows)


def _evaluation(row: Any, prefix: str, cell: Cell) -> list[Example]:
    """Return all questions of a row; question k about the images is asked of image k mod n."""
    images = row["images"] if "images" in row else [row["image"]]
    if not images:
        raise cell.inside("images").error("at least one image", "none")
    values = facts(row["biography"])
    about_images = [
        replace(question, images=(images[k % len(images)],))
        for k, question in enumerate(_questions(row, "Image_Textual", cell))
    ]
    # In Test_Set the questions go round the images, so that every image is used and no question is asked twice.
    items = [
        replace(e, id=f"{prefix}/{e.modality}/{e.id}", attribute=find_attribute(e.question, e.answer, values))
        for e in (*about_images, *_questions(row, "Pure_Text", cell))
    ]
    # Open questions have no wrong answers of their own; the options about the same fact give them.
    choices = [item for item in items if item.choices]
    return [item if item.choices else replace(item, perturbed=perturbed_answers(item, choices)) for item in items]


def _questions(row: Biography, kind: Literal["Image_Textual", "Pure_Text"], cell: Cell) -> list[Example]:
    """Return the questions of one modality, without images; their ids are `TASK/NUMBER`."""
    key = "Image_Textual_Questions" if kind == "Image_Textual" else "Pure_Text_Questions"
    examples = []
    for k, choice in enumerate(row["Classification_Task"][key]):
        at = cell.inside("Classification_Task").inside(key).inside(k)
        question = Example(f"multiple_choice/{k}", row["ID"], choice["Question"], choice["Correct_Answer"])
        examples.append(
            as_multiple_choice(question, choice["Options"], at.inside("Options"), at.inside("Correct_Answer"))
        )
    tasks: list[tuple[Task, list[OpenQuestion]]] = [("generation", row["Generation_Task"]), ("cloze", row["Mask_Task"])]
    for task, of_both_kinds in tasks:
        of_kind = [question for question in of_both_kinds if question["Type"] == kind]
        examples += [
            Example(f"{task}/{k}", row["ID"], mark_blank(question["Question"]), question["Ground_Truth"], task=task)
            for k, question in enumerate(of_kind)
        ]
    return examples


def _training(root: Path, people: Split) -> list[Example]:
    """Return the training questions of these people, from their own split if it is there, or else from ft_Data."""
    part = f"baseline_train_split/{people.name}"
    split = MLLMU.read(root, part if has_table(root / part) else "ft_Data")
    # ft_Data holds everybody, but a split for these people that lacks one of them is a mistake.
    if split.name == part and (unmatched := sorted(split.people.keys() ^ people.people.keys())):
        raise DataError(
            f"{root}: {unmatched[0]} is in only one of {part} and {people.name}; they must hold the same people"
        )
    values = {entity: facts(row["biography"]) for entity, row in people.people.items()}
    return [
        Example(
            f"{prefix}/{k}", row["ID"], pair["Question"], pair["Answer"], (row["image"],),
            attribute=find_attribute(pair["Question"], pair["Answer"], values[row["ID"]]),
        )
        for (_, row), prefix in zip(split.rows, split.id_prefixes(), strict=True)
        if row["ID"] in values
        for k, pair in enumerate(row["metadata"])
    ]  # fmt: skip


def find_attribute(question: str, answer: str, values: Mapping[str, str]) -> str:
    """Return the fact that is asked for: the one whose value the answer is, or contains.

    If several facts have that value, the words of the question decide; empty if no fact fits.
    """
    # Facts equal to the answer come before facts that it contains, as a sentence may mention several.
    equal = [key for key, value in values.items() if value.casefold() == answer.strip().casefold()]
    contained = [key for key, value in values.items() if contains_words(answer, value)]
    for fitting in (equal, contained):
        named = [key for key in fitting if contains_words(question, phrase(key))]
        if named or len(fitting) == 1:
            return (named or fitting)[0]
    # No value decides: the longest name of a fact that is in the question, as a name may contain another one.
    return max((key for key in values if contains_words(question, phrase(key))), key=len, default="")


MLLMU = PersonBenchmark(
    layout=layout_of,
    evaluation=_evaluation,
    training=_training,
    texts=lambda row, prefix: fact_questions(row["ID"], row["biography"], prefix),
    hints=HINTS,
)
