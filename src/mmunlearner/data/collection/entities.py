"""The entities of a collection: their pictures and their facts, matched by name.

facts.csv                 name;occupation;city           (or facts.xlsx, facts.tsv, facts.jsonl...)
photos/Ada Lovelace/*     pictures, in folders below too (or pictures/, images/, or the folders themselves)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmunlearner.core.names import did_you_mean
from mmunlearner.core.texts import canonical, is_blank
from mmunlearner.core.validation import Name, one_line
from mmunlearner.data.decoding import readable_suffixes
from mmunlearner.data.images import ImageRef
from mmunlearner.data.tables import check, has_table, read_table
from mmunlearner.errors import DataError

FACTS = "facts"
PICTURES = ("photos", "pictures", "images")
"""Folders that may hold the entities' folders; without any of them, the entities' folders stand beside the facts."""
NAME_COLUMNS = ("name", "entity")
SYSTEM_FILES = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Entity:
    """A person or thing with pictures and facts."""

    name: str
    images: tuple[ImageRef, ...]
    """Pictures by the path of their file, each once."""
    facts: Mapping[str, str]
    """Attribute -> value in words; attributes without a value are absent."""


@dataclass(frozen=True)
class Collection:
    """All entities that can be asked about, and what was left out."""

    folder: Path
    entities: tuple[Entity, ...]
    """Sorted by name."""
    notes: tuple[str, ...]
    """Remarks for the user: entities and files that were left out."""
    left_out: Mapping[str, str]
    """Entity that cannot be asked about -> the reason."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes of all entities, in the order of the table."""
        return tuple(dict.fromkeys(attribute for entity in self.entities for attribute in entity.facts))

    def find(self, name: str, option: str) -> Entity:
        """Return the entity of a name.

        Raises:
            DataError: there is none, or it has no pictures or no facts.
        """
        by_name = {entity.name: entity for entity in self.entities}
        wanted = canonical(name)
        if wanted in self.left_out:
            raise DataError(f"--{option}: {wanted} {self.left_out[wanted]}")
        if wanted not in by_name:
            raise DataError(f"--{option}: no entity {wanted!r} in {self.folder}; {did_you_mean(wanted, by_name)}")
        return by_name[wanted]


def read_collection(folder: Path, *, facts: str = "", pictures: str = "") -> Collection:
    """Read a collection; `facts` and `pictures` are a table and a folder in other places than those above.

    Raises:
        DataError: a table or folder is missing, a picture is broken, a name stands twice, or nobody has both.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; expected one with a table {FACTS} and a folder of pictures per entity"
        )
    table = Path(facts) if facts else folder / FACTS
    if not has_table(table):
        raise DataError(
            f"{table}: no such table; expected {FACTS}.csv (or .xlsx, .tsv) with a row per entity, or --facts"
        )
    values = _read_facts(table)
    root = Path(pictures) if pictures else next((folder / p for p in PICTURES if (folder / p).is_dir()), folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; expected one with a folder of pictures per entity, or --pictures")
    images, notes = _read_pictures(root, values)
    left_out = {name: f"has no picture below {root}" for name in values if name not in images}
    left_out |= {name: f"has pictures, but no row in {table.name}" for name in images if name not in values}
    for reason in sorted(set(left_out.values())):
        names = sorted(name for name, why in left_out.items() if why == reason)
        notes.append(f"left out, {reason.removeprefix('has ')}: {', '.join(names)}")
    entities = tuple(Entity(name, images[name], values[name]) for name in sorted(values) if name in images)
    if not entities:
        raise DataError(f"{folder}: no entity has pictures and facts: {'; '.join(notes) or 'there are no folders'}")
    return Collection(folder, entities, tuple(notes), left_out)


def _read_facts(table: Path) -> dict[str, dict[str, str]]:
    """Return name -> attribute -> value."""
    values: dict[str, dict[str, str]] = {}
    row_of: dict[str, int] = {}
    for cell, row in read_table(table, dict[str, str]):
        columns = [column for column in row if column.strip().casefold() in NAME_COLUMNS]
        if not columns:
            raise cell.error(
                f"a column {' or '.join(NAME_COLUMNS)} with a name in it", one_line(", ".join(row)) or "nothing"
            )
        name = check(row.pop(columns[0]), Name, cell.inside(columns[0]))
        if name in values:
            raise cell.inside(columns[0]).error("one row for each entity", f"{name}, which row {row_of[name]} has")
        # Names of attributes stand in `wording.yaml` and in questions.
        named = {check(attribute, Name, cell): value.strip() for attribute, value in row.items()}
        values[name] = {attribute: value for attribute, value in named.items() if not is_blank(value)}
        row_of[name] = cell.row
    return values


def _read_pictures(root: Path, values: Mapping[str, object]) -> tuple[dict[str, tuple[ImageRef, ...]], list[str]]:
    """Return entity -> its pictures, each once, and notes on what was left out."""
    pictures: dict[str, tuple[ImageRef, ...]] = {}
    ignored = Counter[str]()
    owner: dict[str, ImageRef] = {}  # key -> the picture
    copies: list[str] = []
    suffixes = readable_suffixes()
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        name = canonical(folder.name)
        # Folders are often written without spaces; a name with underscores in the table comes first.
        name = name if name in values else next((n for n in (canonical(name.replace("_", " ")),) if n in values), name)
        unique: list[ImageRef] = []
        for file in _visible_files(folder):
            if file.suffix.lower() not in suffixes:
                ignored[file.suffix.lower() or file.name] += 1
                continue
            image = ImageRef(str(file))
            if problem := image.problem():
                raise DataError(f"{file}: a broken picture ({problem}); replace it or take it out of the folder")
            first = owner.setdefault(image.key, image)
            if first is image:
                unique.append(image)
            elif Path(first.path).is_relative_to(folder):
                copies.append(str(file))  # a copy among the held-out views would not be held out
            else:
                raise DataError(f"{first.path} and {file} are the same picture of two entities; keep it with one")
        if unique:
            pictures[name] = (*pictures.get(name, ()), *unique)
    notes = [f"left out, {count} files of a kind that is not read: {kind}" for kind, count in sorted(ignored.items())]
    if copies:
        notes.append(f"left out, copies of other pictures: {', '.join(copies)}")
    return pictures, notes


def _visible_files(folder: Path) -> list[Path]:
    files = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    visible = [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
    return sorted(file for file in visible if file.name.lower() not in SYSTEM_FILES)
