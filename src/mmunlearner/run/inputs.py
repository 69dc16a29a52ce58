"""Inputs of a run beside its recipe: data, models, the package. Recorded at its start, compared later.

The questions and pictures that the run reads decide, not the files that they are in: a README in the folder changes
nothing, and a loader of the user's own counts too. Hashes of files only tell which one has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, NotRequired

from typing_extensions import TypedDict

from mmunlearner import __version__, data
from mmunlearner.core.files import write_json
from mmunlearner.core.names import listed
from mmunlearner.core.records import read_record
from mmunlearner.data.load import local_folder
from mmunlearner.errors import ChangedError
from mmunlearner.models.sources import source_hashes
from mmunlearner.run.run_dir import REFERENCES, RunDir


class Inputs(TypedDict):
    """Content of data.json; earlier versions lack some of it."""

    hashes: NotRequired[Mapping[str, str]]
    """File of the data -> SHA-256."""
    sets: NotRequired[Mapping[str, str]]
    models: NotRequired[Mapping[str, Mapping[str, str]]]
    version: NotRequired[str]


def record_inputs(run: RunDir, *, complete: bool = False) -> data.Overlap:
    """Record what the run is computed from, and return how the evaluated questions overlap with the training sets.

    Of a run that was begun before, it must be what was recorded then. With `complete`, nothing is left to compute: the
    models and this package may have changed since.

    Raises:
        DataError: the data cannot be read.
        ChangedError: the run was begun with other data, other models or another version of this package.
    """
    overlap, path = data.overlap(run.splits), run.path / "data.json"
    recorded: Mapping[str, Any] = read_record(path, Inputs) if path.exists() else {}
    inputs: dict[str, Any] = {"sets": data.set_hashes(run.splits)}
    if not complete:
        sources = {name: getattr(run.config.model, name) for name in (*REFERENCES, "base")}
        inputs |= {"models": {name: source_hashes(source) for name, source in sources.items()}, "version": __version__}
    if changes := list(chain(_data_changes(run, recorded, inputs), _other_changes(recorded, inputs))):
        raise ChangedError(
            f"{run.path}: {'; '.join(changes)} since this run began, and what it holds follows from what was there "
            "before; choose another name, or compute all anew with --restart"
        )
    if not recorded.keys() >= inputs.keys():  # a new run, or one of an earlier version
        hashes = recorded.get("hashes") or file_hashes(run)
        write_json(path, {**recorded, "hashes": hashes, **inputs, "overlap": overlap._asdict()})
    return overlap


def _data_changes(run: RunDir, recorded: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[str]:
    # A run of an earlier version has the hashes of files alone.
    sets = _differing(recorded["sets"], inputs["sets"]) if "sets" in recorded else []
    if sets or (recorded and "sets" not in recorded):
        files = _differing(recorded.get("hashes", {}), file_hashes(run))
        if sets or files:
            where = f" ({listed(sets, 3)})" if sets else ""
            yield f"the data{where} have changed{f' in {listed(files, 3)}' if files else ''}"


def _other_changes(recorded: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[str]:
    for name, hashes in recorded.get("models", {}).items():
        now = inputs.get("models", {}).get(name)
        if hashes and now and (files := _differing(hashes, now)):  # of a hub id, none until it is downloaded
            yield f"model.{name} has changed in {listed(files, 3)}"
    before, now = recorded.get("version"), inputs.get("version")
    if before and now and before != now:
        yield f"mmunlearner was {before} and is {now}"


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {**before, **now} if before.get(name) != now.get(name))


def file_hashes(run: RunDir) -> dict[str, str]:
    """Return the hashes of the data's files; none where a loader of the user's own reads no folder."""
    return data.data_hashes(run.root) if run.root and local_folder(run.root).is_dir() else {}
