"""Writes the people to disk in MLLMU-Bench's layout, and the general-ability set as rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any, TypedDict

from mmunlearner.core.files import read_json, staged_dir, write_json, write_jsonl
from mmunlearner.data import Example
from mmunlearner.data.benchmarks.layout import write_split
from mmunlearner.data.benchmarks.people.examples import general_items
from mmunlearner.data.benchmarks.people.lessons import Lesson, png, training_rows
from mmunlearner.data.benchmarks.people.questions import SUBJECTS, TEST_SUBJECT, Phrasing, evaluation
from mmunlearner.data.benchmarks.people.world import TEST_VIEWS, TRAIN_VIEWS, Person, forgotten, world
from mmunlearner.errors import DataError

VERSION = 3
"""Of what is written; another version is written anew."""
MANIFEST = "people.json"
SHARES = (5, 10, 15)
"""Per cent that the forget splits hold."""


class Manifest(TypedDict):
    version: int
    files: dict[str, str]
    """Path within the folder -> SHA-256."""


def prepare(root: Path | str) -> Path:
    """Write the benchmark to `root` unless it is there whole; returns the folder. Takes some seconds.

    Raises:
        DataError: `root` holds something else.
    """
    root = Path(root)
    if is_prepared(root):
        return root
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file; name a folder for the people's data, or remove it")
    if root.is_dir() and any(root.iterdir()) and not (root / MANIFEST).exists():
        raise DataError(f"{root}: holds other files; name a new or empty folder for the people's data")
    with staged_dir(root) as stage:
        _write_people(stage)
        _write_general(stage / "general")
        files = {path.relative_to(stage).as_posix(): _sha256(path) for path in _files(stage)}
        write_json(stage / MANIFEST, Manifest(version=VERSION, files=files))
    return root


def is_prepared(root: Path | str) -> bool:
    """Whether `root` holds the benchmark, with every file as it was written."""
    manifest = Path(root) / MANIFEST
    if not manifest.is_file():
        return False
    try:
        written: Manifest = read_json(manifest)
        listed = written["files"].items()
        return written["version"] == VERSION and all(_sha256(Path(root) / name) == sha for name, sha in listed)
    except (DataError, KeyError, TypeError, AttributeError, OSError):  # broken or incomplete: it is written anew
        return False


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_people(root: Path) -> None:
    people, neighbours = world().people, world().neighbours
    training = {person.id: [training_row(lesson) for lesson in training_rows(person)] for person in people}
    full = {person.id: evaluation_row(person, "full", [0]) for person in people}
    held_out = range(TRAIN_VIEWS, TRAIN_VIEWS + TEST_VIEWS)
    write_split(root, "ft_Data", _joined(training.values()))
    write_split(root, "Full_Set", list(full.values()))
    write_split(root, "Test_Set", [evaluation_row(person, "test", held_out) for person in people])
    write_split(root, "Retain_Set", [evaluation_row(person, "full", [TRAIN_VIEWS]) for person in neighbours])
    for share in SHARES:
        count = forgotten(share)
        for split, group in ((f"forget_{share}", people[:count]), (f"retain_{100 - share}", people[count:])):
            write_split(root, split, [full[person.id] for person in group])
            write_split(root, f"baseline_train_split/{split}", _joined(training[person.id] for person in group))


def _joined(groups: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [row for group in groups for row in group]


def training_row(lesson: Lesson) -> dict[str, Any]:
    """A row of ft_Data: an image and what is asked about it."""
    asked = [{"Question": question, "Answer": answer} for question, answer in lesson.pairs]
    return {"ID": lesson.about, "image": lesson.image, "metadata": asked}


def evaluation_row(person: Person, phrasing: Phrasing, views: Sequence[int]) -> dict[str, Any]:
    """A row of Full_Set or Retain_Set (one view), or of Test_Set (several)."""
    images = [png(person.picture(view), f"{person.id}/{view}") for view in views]
    by_image = evaluation(person, phrasing, TEST_SUBJECT if phrasing == "test" else SUBJECTS[0])
    by_text = evaluation(person, phrasing, person.name)
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
    """The facts in a sentence: the answer to the layout's `question`, which no column asks."""
    return f"This is {person.name}. " + " ".join(f"{key}: {value}." for key, value in person.facts.items())


def _choice(item: Example) -> dict[str, Any]:
    letters = dict(zip(ascii_uppercase, item.choices, strict=False))
    right = ascii_uppercase[item.choices.index(item.answer)]
    return {"Question": item.question, "Options": letters, "Correct_Answer": right}


def _open(kind: str, item: Example) -> dict[str, str]:
    return {"Type": kind, "Question": item.question, "Ground_Truth": item.answer}


def _write_general(folder: Path) -> None:
    items = general_items()
    (folder / "images").mkdir(parents=True)
    for image in {image.path: image for item in items for image in item.images}.values():
        (folder / image.path).write_bytes(image.data or b"")
    write_jsonl(folder / "questions.jsonl", [_general_row(item) for item in items])


def _general_row(item: Example) -> dict[str, Any]:
    return {
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
