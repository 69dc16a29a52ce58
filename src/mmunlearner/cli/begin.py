"""The command that makes a data set and a recipe of a user's own pictures and facts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import Field


def init(
    folder: Path,
    /,
    *,
    forget: tuple[str, ...] = (),
    neighbours: tuple[str, ...] = (),
    facts: str = "",
    pictures: str = "",
    kind: str = "",
    held_out: Annotated[int, Field(ge=0)] = 0,
    model: str = "tiny",
    seed: Annotated[int, Field(ge=0)] = 0,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make a data set and a commented recipe of your own pictures and facts.

    FOLDER holds a table `facts.csv` (or .xlsx, .tsv), with a row per entity: a column `name` and a column for each
    fact; and a folder of pictures per entity: `photos/Ada Lovelace/1.jpg`. Written into it are `questions.jsonl`,
    `recipe.yaml` for `mmunlearner run` (with `recipe.schema.json`, by which editors complete its options), and
    `wording.yaml`, where the wording of the questions can be changed.

    Args:
        folder: Folder of pictures and facts.
        forget: Names of the entities to forget.
        neighbours: Names of entities that the models know and unlearning never sees: they show what it does to others.
        facts: Table of facts; if left out, FOLDER/facts.csv (or .xlsx, .tsv...).
        pictures: Folder that holds the entities' folders; if left out, FOLDER/photos, pictures or images, or FOLDER.
        kind: Word for an entity in a picture, as in `the person in this picture`; if left out, person.
        held_out: Pictures of each entity that are held out for the test of other views; 0: a quarter, at least one.
        model: Model of the recipe: `tiny` to try the path on a CPU, or a directory or hub id.
        seed: Seed of the drawn options and held-out pictures, and of the run.
        overwrite: Replace questions.jsonl and recipe.yaml; wording.yaml is read, and never replaced.
    """
    from mmunlearner.cli import tables as show
    from mmunlearner.data.collection import Request, start

    request = Request(
        folder,
        forget,
        neighbours,
        facts,
        pictures,
        kind,
        held_out=held_out,
        model=model,
        seed=seed,
        overwrite=overwrite,
    )
    show.beginning(start(request))
