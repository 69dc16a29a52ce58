"""The beginning of a user's own unlearning: a collection becomes a checked data set and a commented recipe."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmunlearner.core.effective import recipe_schema
from mmunlearner.core.files import write_jsonl, write_text
from mmunlearner.core.recipes import check
from mmunlearner.data.benchmarks import rows
from mmunlearner.data.collection.entities import Collection, read_collection
from mmunlearner.data.collection.questions import Plan, divide_views, make_rows
from mmunlearner.data.collection.recipe import recipe_text
from mmunlearner.data.collection.wording import default_wording, read_wording, wording_text
from mmunlearner.data.example import Splits
from mmunlearner.data.tables import Cell, has_table, table_files
from mmunlearner.errors import ConfigError
from mmunlearner.option_types import Count

WORDING, RECIPE, SCHEMA = "wording.yaml", "recipe.yaml", "recipe.schema.json"
KIND = "person"
FEW_VIEWS = 4
"""Pictures of an entity below which it is said that more are better."""


@dataclass(frozen=True)
class Request:
    """Wishes of a user for the data set of a collection."""

    folder: Path
    forget: tuple[str, ...]
    neighbours: tuple[str, ...] = ()
    facts: str = ""
    """Table of facts; empty: FOLDER/facts."""
    pictures: str = ""
    """Folder of the entities' folders; empty: FOLDER/photos, pictures or images, or FOLDER."""
    kind: str = ""
    """Word for an entity in a picture; empty: person."""
    held_out: Count = 0
    """Pictures of each entity to hold out; 0: a quarter, at least one of two."""
    model: str = "tiny"
    """Model to train: `tiny`, a directory or a hub id."""
    seed: Count = 0
    overwrite: bool = False


@dataclass(frozen=True)
class Beginning:
    """The files that were written, and what is in them."""

    recipe: Path
    splits: Splits
    notes: tuple[str, ...]
    """Remarks for the user."""


def start(request: Request) -> Beginning:
    """Write questions, wording (if it is not there), recipe and its schema into the folder of a collection.

    Raises:
        ConfigError: a file is there already, an option or the wording is wrong.
        DataError: the collection is incomplete, or an entity to forget cannot be.
    """
    request = check(request)
    folder, file = request.folder, request.folder / WORDING
    collection = read_collection(folder, facts=request.facts, pictures=request.pictures)
    _check_files(request)
    forget, neighbours = _choose(collection, request)
    attributes = collection.attributes
    wording = read_wording(file, attributes) if file.exists() else default_wording(attributes, request.kind or KIND)
    plan = Plan(wording, frozenset(neighbours), request.held_out, request.seed)
    table = list(make_rows(collection, plan))
    # Before anything is written: the same checks as those of a run.
    examples = [(row, rows.as_example(row, Cell(folder / rows.FILE, number))) for number, row in enumerate(table, 1)]
    splits = rows.assemble(examples, forget_entities=forget, source=str(folder))
    if not file.exists():
        write_text(file, wording_text(wording))
    write_jsonl(folder / rows.FILE, [_line(row, folder) for row in table])
    if request.overwrite or not (folder / SCHEMA).exists():
        write_text(folder / SCHEMA, recipe_schema())
    write_text(folder / RECIPE, recipe_text(folder, forget, splits, model=request.model, seed=request.seed))
    return Beginning(folder / RECIPE, splits, (*collection.notes, *_notes(collection, plan, forget)))


def _choose(collection: Collection, request: Request) -> tuple[list[str], list[str]]:
    """Return the names to forget and those of the neighbours, as the collection has them."""
    if not request.forget:
        first = ", ".join(entity.name for entity in collection.entities[:5])
        raise ConfigError(f"--forget: name the entities to forget, e.g. some of {first}")
    forget = [collection.find(name, "forget").name for name in request.forget]
    neighbours = [collection.find(name, "neighbours").name for name in request.neighbours]
    if both := [name for name in forget if name in neighbours]:
        raise ConfigError(f"--neighbours: {both[0]} is in --forget too; an entity is one or the other")
    if len({*forget, *neighbours}) == len(collection.entities):
        raise ConfigError(f"--forget: nobody is left to retain of the {len(collection.entities)} entities")
    return forget, neighbours


def _line(row: rows.Row, folder: Path) -> Mapping[str, object]:
    """Return a row as the file holds it: paths of pictures relative to the folder."""
    paths = [Path(os.path.relpath(image.path, folder)).as_posix() for image in row.get("image") or ()]
    return {**row, "image": paths[0]} if paths else row


def _check_files(request: Request) -> None:
    """Raise an error if a file of the user's would be replaced, or stand beside the questions."""
    folder = request.folder
    if not request.overwrite:
        for name in (rows.FILE, RECIPE):
            if (folder / name).exists():
                raise ConfigError(
                    f"{folder / name}: exists already; --overwrite replaces the questions and the recipe "
                    f"(never {WORDING})"
                )
    if request.kind and (folder / WORDING).exists():
        raise ConfigError(f"--kind: {folder / WORDING} has the words already; change `who` in it")
    if has_table(folder / rows.TABLE) and (found := table_files(folder / rows.TABLE)[0]).name != rows.FILE:
        raise ConfigError(f"{found}: holds questions already; run them by --data.format rows, or give it another name")


def _notes(collection: Collection, plan: Plan, forget: Sequence[str]) -> list[str]:
    """Return what is allowed, but weakens the result."""
    notes = []
    if unasked := [attribute for attribute in collection.attributes if attribute not in plan.wording["facts"]]:
        notes.append(f"not asked for, as {WORDING} does not have them: {', '.join(unasked)}")
    views: Mapping[str, int] = {entity.name: len(entity.images) for entity in collection.entities}
    if single := [name for name, count in views.items() if count == 1]:
        notes.append(f"one picture alone, so that no other view can be tested: {', '.join(single)}")
    if few := [name for name in forget if 1 < views[name] < FEW_VIEWS]:
        notes.append(f"few pictures, so that the test of other views is small: {', '.join(few)}")
    if len(forget) == 1:
        notes.append("one entity to forget alone: settings cannot be tuned on it and tested, and no error is known")
    if not plan.neighbours:
        notes.append("no neighbours: nothing shows what unlearning does to entities that it never saw (--neighbours)")
    counts = Counter(len(divide_views(entity, plan)[1]) for entity in collection.entities)
    pictures = ", ".join(f"{number} of each of {entities} entities" for number, entities in sorted(counts.items()))
    return [*notes, f"pictures held out for the test: {pictures}"]
