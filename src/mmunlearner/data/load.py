"""Benchmarks by name. A format has a loader, `load(root, *, forget=, forget_entities=, seed=) -> Splits`.

A loader declares the keyword arguments that it uses, and no others. Any `package.module:function` of that form works as
a format.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mmunlearner.config import DataConfig
from mmunlearner.core.hub import hub_problem, quiet_hub
from mmunlearner.core.names import did_you_mean, resolve_name
from mmunlearner.core.recipes import check, check_value
from mmunlearner.core.texts import canonical
from mmunlearner.core.validation import one_line, shorten
from mmunlearner.data.benchmarks import rows
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.images import ImageRef
from mmunlearner.data.longer import with_longer_answers
from mmunlearner.data.splits import GENERAL, check_splits, divide_general, forget_others, group_of
from mmunlearner.data.tables import LayoutError, has_table
from mmunlearner.errors import ConfigError, DataError
from mmunlearner.option_types import Seed

Loader = Callable[..., Splits]


@dataclass(frozen=True)
class Format:
    """A benchmark's layout on disk, and the facts about it that other rooms need."""

    loader: str
    """`package.module:function`."""
    embedded: bool = False
    """The package makes its data: `data.root` may be empty."""
    people: bool = False
    """Its entities are people."""
    summary: str = ""
    """`package.module:function` of the benchmark's own summary of a model's answers; empty if it has none."""
    files: tuple[str, ...] = ()
    """Files, folders or tables (without their suffix) that only a folder in this format has."""
    columns: tuple[str, ...] = ()
    """Columns that only rows in this format have."""
    source: str = ""
    """Place that its data are from, for the message that a folder is missing."""
    folds: str = ""
    """`package.module:NAME` of its folds, name -> entities to forget; empty if it has none."""


FORMATS: Mapping[str, Format] = {
    "people": Format(
        "mmunlearner.data.benchmarks.people.build:load",
        embedded=True, people=True, folds="mmunlearner.data.benchmarks.people.folds:FOLDS",
    ),
    "people_small": Format("mmunlearner.data.benchmarks.people.small:load", embedded=True, people=True),
    "mllmu": Format(
        "mmunlearner.data.benchmarks.mllmu:load",
        people=True, files=("ft_Data",), columns=("metadata", "Classification_Task"),
        source="or the hub id MLLMMU/MLLMU-Bench",
    ),
    "umu": Format("mmunlearner.data.benchmarks.umu:load", people=True, columns=("MM_QA",)),
    "clear": Format(
        "mmunlearner.data.benchmarks.clear:load",
        people=True, summary="mmunlearner.evaluate.clear:summary", files=("full+tofu",), columns=("caption",),
        source="or the hub id therem/CLEAR",
    ),
    "fiubench": Format(
        "mmunlearner.data.benchmarks.fiubench:load",
        people=True, files=("full.json", "split.json"), columns=("qa_list",),
    ),
    "conversations": Format(
        "mmunlearner.data.benchmarks.conversations:load_conversations", columns=("conversations",)
    ),
    "chat": Format("mmunlearner.data.benchmarks.conversations:load_chat", columns=("messages", "prompt")),
    "rows": Format("mmunlearner.data.benchmarks.rows:load", files=("questions",)),
    "flags": Format(
        "mmunlearner.data.benchmarks.flags:load", files=("facts.json", "waving"),
        source="pictures of world_countries and facts of mledoze/countries, as docs/data.md says",
    ),
}  # fmt: skip
"""Name -> format."""


def load(config: DataConfig, *, seed: int = 0) -> Splits:
    """Load the benchmark of a configuration, with the general-ability set from `data.general` or from ROOT/general.

    Raises:
        ConfigError: there is no such format, or the format does not take an option.
        DataError: the data are missing, wrong or empty.
    """
    config, seed = check(config), check_value("seed", seed, Seed)
    loader = find_loader(config.format)
    shipped = config.format in FORMATS
    if shipped and not config.root and not FORMATS[config.format].embedded:
        source = FORMATS[config.format].source
        hint = f" ({source})" if source else ""
        raise ConfigError(f"data.root: format {config.format} needs a folder: --data.root FOLDER{hint}")
    # A loader gets only the options that it declares: a user's own may be as short as `load(root)`.
    declared = inspect.signature(loader).parameters
    # As the loaders write the names of the data.
    forget_entities = tuple(canonical(name) for name in _fold(config) or config.forget_entities)
    values = {"forget": config.forget, "forget_entities": forget_entities, "seed": seed}
    options = {name: value for name, value in values.items() if name in declared}
    # The root of a user's own loader is passed on as it is: it need not be a folder.
    root = local_folder(config.root) if shipped and config.root else config.root
    try:
        splits = loader(root, **options)
    except DataError as error:
        raise DataError(f"{error}{_suggest_format(config.format, root, error)}") from None
    if not shipped:
        _check_loaded(splits, config.format)
    if forget_entities and "forget_entities" not in declared:
        splits = forget_others(splits, forget_entities)
    evaluation = dict(splits.evaluation)
    general = Path(root) / GENERAL  # the people's folder has a general-ability set in the rows format; others may
    if config.general or has_table(general / rows.TABLE):
        folder = local_folder(config.general) if config.general else general
        own = {column: items for column, items in evaluation.items() if group_of(column) != GENERAL}
        evaluation = own | {GENERAL: rows.load_general(folder)}  # in the place of the benchmark's, if it has one
    splits = replace(splits, evaluation=divide_general(evaluation))
    return with_longer_answers(check_splits(splits, config.root or config.format))


def _fold(config: DataConfig) -> tuple[str, ...]:
    """Return the entities of the configuration's fold; none without a fold."""
    if not config.fold:
        return ()
    if config.forget_entities:
        raise ConfigError("data.fold: data.forget_entities names the entities to forget too; leave one of them out")
    name = find_format(config.format).folds
    folds: Mapping[str, tuple[str, ...]] = resolve_name(name, "data.fold:") if name else {}
    if config.fold not in folds:
        remedy = did_you_mean(config.fold, folds) if folds else "name the entities with data.forget_entities"
        raise ConfigError(f"data.fold: {config.fold}: format {config.format} has no such fold; {remedy}")
    return folds[config.fold]


def _check_loaded(splits: object, loader: str) -> None:
    """Check what a loader of the user's own gave: types, and images as the readers of tables check them.

    Raises:
        DataError: it is not made of examples, or an image cannot be decoded.
    """
    if not isinstance(splits, Splits) or not isinstance(splits.evaluation, Mapping):
        raise DataError(f"{loader}: expected Splits with a mapping of columns, found {shorten(splits)}")
    for name, items in splits.sets.items():
        if not _is_tuple_of(Example, items):
            raise DataError(f"{loader}: {name}: expected a tuple of Example, found {shorten(items)}")
        for item in items:
            where = f"{loader}: {name}: {one_line(item.id)}"
            if not _is_tuple_of(ImageRef, item.images):
                raise DataError(f"{where}: images: expected a tuple of ImageRef, found {shorten(item.images)}")
            if problem := next(filter(None, (image.problem() for image in item.images)), ""):
                raise DataError(f"{where}: images: {problem}")


def _is_tuple_of(kind: type, value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, kind) for item in value)


def find_format(name: str) -> Format:
    """Return the format of a name; for a `package.module:function`, a format that has only this loader.

    Raises:
        ConfigError: the name is neither.
    """
    if name not in FORMATS and ":" not in name:
        raise ConfigError(
            f"data.format: {name}: no such format; {did_you_mean(name, FORMATS)} (your own: package.module:function)"
        )
    return FORMATS.get(name) or Format(name)


def find_loader(name: str) -> Loader:
    """Import the loader of a format's name, or of `package.module:function`.

    Raises:
        ConfigError: there is none.
    """
    return resolve_name(find_format(name).loader, "data.format:")


def _suggest_format(name: str, root: Path | str, error: DataError) -> str:
    """Return the end of an error's message if the folder or the wrong row looks like another format's; or nothing."""
    columns = error.columns if isinstance(error, LayoutError) else ()
    # A wrong `data.format` is a common mistake: its error would else only say which column is missing.
    for candidate, format_ in FORMATS.items():
        paths = [Path(root) / file for file in format_.files] if root else []
        by_files = paths and all(path.exists() or has_table(path) for path in paths)
        if by_files or set(format_.columns) & set(columns):
            return f". The folder looks like {candidate}: use --data.format {candidate}" if candidate != name else ""
    return ""


def local_folder(root: Path | str) -> Path:
    """Return the folder, or for a hub id such as `MLLMMU/MLLMU-Bench` its snapshot, which is downloaded once.

    Raises:
        DataError: there is no such folder, and the hub has no such data set or cannot be reached.
    """
    # A folder of that name comes first. A hub id has exactly one slash and no leading dot.
    if Path(root).exists() or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(root)):
        return Path(root)
    from huggingface_hub import snapshot_download  # takes a second to import, which only hub ids should pay

    problem = hub_problem()
    try:
        with quiet_hub():
            return Path(snapshot_download(str(root), repo_type="dataset", local_files_only=bool(problem)))
    except (OSError, ValueError) as error:
        first_sentence = problem or " ".join(str(error).split()).split(". ")[0]
        raise DataError(
            f"{root}: no such folder, and no data set of that id could be fetched from the hub ({first_sentence}); "
            "download it where there is a network and give its folder"
        ) from None


def is_at_hand(config: DataConfig) -> bool:
    """Return whether data can be read on this machine: a loader of the user's own decides for itself."""
    folders = [folder for folder in (config.root, config.general) if folder]
    try:
        return config.format not in FORMATS or all(local_folder(folder).exists() for folder in folders)
    except DataError:  # a hub id that cannot be fetched
        return False


def data_hashes(root: Path | str) -> dict[str, str]:
    """Return path (relative, with `/`) -> SHA-256 of every file in a folder or a hub id's; hidden ones are left out.

    Raises:
        DataError: there is no such folder.
    """
    root = local_folder(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    files = sorted(path for path in root.rglob("*") if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    # Hidden files, such as a download's cache, differ between machines that have the same data.
    return {
        name: file_hash(path) for name, path in names.items() if not any(p.startswith(".") for p in name.split("/"))
    }


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
