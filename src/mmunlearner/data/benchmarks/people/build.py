"""The embedded benchmark: invented people, drawn and described, in MLLMU-Bench's layout with a general-ability set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypedDict

from mmunlearner.core.files import read_json, staged_dir, write_json, write_jsonl
from mmunlearner.data.benchmarks import mllmu
from mmunlearner.data.benchmarks.people.general import general_items
from mmunlearner.data.benchmarks.people.questions import SUBJECTS, Phrasing, evaluation, training
from mmunlearner.data.benchmarks.people.world import (
    HELD_OUT,
    SEEN,
    TEST_ROUNDS,
    TRAIN_VIEWS,
    Person,
    forgotten,
    world,
)
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.load import data_hashes, file_hash
from mmunlearner.data.prompts import prompt, target
from mmunlearner.errors import DataError

VERSION = 4
"""Version of the files; a folder of another version is written again."""
MANIFEST = "people.json"
SHARES = (5, 10, 15)
"""Sizes of the forget splits, per cent of the people."""


class Manifest(TypedDict):
    version: int
    files: dict[str, str]
    """Path in the folder -> SHA-256."""


def load(root: Path | str, *, forget: int = 15) -> Splits:
    """Load the embedded benchmark; write it to `root` first if it is not there yet.

    Raises:
        DataError: `root` holds other files.
    """
    return mllmu.load(prepare(root), forget=forget)


def prepare(root: Path | str) -> Path:
    """Write the benchmark to `root` unless it is complete there; return the folder. Takes some seconds.

    Raises:
        DataError: `root` holds other files.
    """
    root = Path(root)
    if is_prepared(root):
        return root
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file; name a folder for the people's data, or remove it")
    # A folder without our manifest may be the user's: it is never replaced.
    if root.is_dir() and any(root.iterdir()) and not (root / MANIFEST).exists():
        raise DataError(f"{root}: holds other files; name a new or empty folder for the people's data")
    with staged_dir(root) as stage:
        _write_people(stage)
        _write_general(stage / "general")
        # The manifest comes last, as it holds the hashes of all other files.
        write_json(stage / MANIFEST, Manifest(version=VERSION, files=data_hashes(stage)))
    return root


def is_prepared(root: Path | str) -> bool:
    """Return whether `root` holds the benchmark with every file unchanged."""
    manifest = Path(root) / MANIFEST
    if not manifest.is_file():
        return False
    try:
        content: Manifest = read_json(manifest)
        hashes = content["files"].items()
        return content["version"] == VERSION and all(file_hash(Path(root) / name) == sha for name, sha in hashes)
    except (DataError, KeyError, TypeError, AttributeError, OSError):  # broken or incomplete: write it again
        return False


def _write_people(root: Path) -> None:
    people = world().people
    training_rows = {person.id: [training_row(person, view) for view in range(TRAIN_VIEWS)] for person in people}
    # Rows are made once, since a person's row is in several splits.
    full = {person.id: evaluation_rows(person, "full", [[view] for view in SEEN]) for person in people}

    def of_group(rows: Mapping[str, list[dict[str, Any]]], group: Sequence[Person]) -> list[dict[str, Any]]:
        return list(chain.from_iterable(rows[person.id] for person in group))

    mllmu.write_split(root, "ft_Data", of_group(training_rows, people))
    mllmu.write_split(root, "Full_Set", of_group(full, people))
    test = (evaluation_rows(person, "test", TEST_ROUNDS) for person in people)
    mllmu.write_split(root, "Test_Set", list(chain.from_iterable(test)))
    for split, group in (("Retain_Set", world().neighbours), ("Stranger_Set", world().strangers)):
        rows = (evaluation_rows(person, "full", [[view] for view in HELD_OUT]) for person in group)
        mllmu.write_split(root, split, list(chain.from_iterable(rows)))
    # The people to forget are the first ones, so a larger share contains the smaller ones.
    for share in SHARES:
        count = forgotten(share)
        for split, group in ((f"forget_{share}", people[:count]), (f"retain_{100 - share}", people[count:])):
            mllmu.write_split(root, split, of_group(full, group))
            mllmu.write_split(root, f"baseline_train_split/{split}", of_group(training_rows, group))


def training_row(person: Person, view: int) -> dict[str, Any]:
    """Return a row of ft_Data: an image and the questions about it."""
    questions = training(person, view)
    pairs = [{"Question": prompt(question), "Answer": target(question)} for question in questions]
    return {"ID": person.id, "image": questions[0].image, "metadata": pairs}


def evaluation_rows(person: Person, phrasing: Phrasing, rounds: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Return a row for each round: its views are one, or several for Test_Set; the first asks in words too."""
    return [_evaluation_row(person, phrasing, views, in_words=not k) for k, views in enumerate(rounds)]


def _evaluation_row(person: Person, phrasing: Phrasing, views: Sequence[int], *, in_words: bool) -> dict[str, Any]:
    images = [person.image(view) for view in views]
    by_image = evaluation(person, phrasing, images)
    by_text = evaluation(person, phrasing, ()) if in_words else []
    typed = [("Image_Textual", item) for item in by_image] + [("Pure_Text", item) for item in by_text]
    return {
        "ID": person.id,
        **({"images": images} if phrasing == "test" else {"image": images[0]}),
        "biography": {"Name": person.name, **person.facts},
        "question": f"Describe {SUBJECTS[0]}.",
        "answer": description(person),
        "Classification_Task": {
            "Image_Textual_Questions": [_choice(item) for item in by_image if item.choices],
            "Pure_Text_Questions": [_choice(item) for item in by_text if item.choices],
        },
        "Generation_Task": [_open(kind, item) for kind, item in typed if item.task == "generation"],
        "Mask_Task": [_open(kind, item) for kind, item in typed if item.task == "cloze"],
    }


def description(person: Person) -> str:
    """Return the facts in sentences: the answer to `question` of the layout, which is in no column."""
    return f"This is {person.name}. " + " ".join(f"{key}: {value}." for key, value in person.facts.items())


def _choice(item: Example) -> dict[str, Any]:
    letters = dict(zip(ascii_uppercase, item.choices, strict=False))
    return {"Question": item.question, "Options": letters, "Correct_Answer": target(item)}


def _open(kind: str, item: Example) -> dict[str, str]:
    return {"Type": kind, "Question": item.question, "Ground_Truth": item.answer}


def _write_general(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    lines = []
    for item in general_items():
        for image in item.images:
            (folder / image.path).write_bytes(image.read_bytes())
        lines.append(
            {
                "id": item.id,
                "entity": item.entity,
                "image": item.image.path if item.image else None,
                "question": item.question,
                "answer": item.answer,
                "split": "test",
                "group": "general",
                "task": item.task,
                "choices": list(item.choices) or None,
                "attribute": item.attribute,
            }
        )
    write_jsonl(folder / "questions.jsonl", lines)
