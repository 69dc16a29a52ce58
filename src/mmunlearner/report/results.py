"""What a report is made of: the run directory's files as frozen dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmunlearner.core.files import read_json, read_jsonl
from mmunlearner.errors import DataError
from mmunlearner.evaluate.scores import Score

Good = Literal["oracle", "kept", "down"]
Role = Literal["vanilla", "oracle", "baseline", "method", "control"]
HEADLINE = "accuracy"


@dataclass(frozen=True)
class Column:
    """One evaluation set and where a score on it should end."""

    name: str
    title: str
    good: Good
    chance: float | None = None
    n: int = 0


@dataclass(frozen=True)
class Model:
    """One evaluated model: how it came to be, what it scored, what it cost."""

    name: str
    title: str
    role: Role
    method: str = ""
    free: str = ""
    """What may move outside the mask, in words."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""
    chosen: bool = False
    """The variant of its family that the validation half picked."""
    mask: str = ""
    """Name of its mask (masks/NAME.json); empty: none."""
    trials: int = 0
    """Settings that were tried on the validation half."""
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """Column -> metric -> score."""
    validation: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    oracle_gap: Mapping[str, Score] = field(default_factory=dict)
    """Score minus the oracle's, per column."""
    forget_quality: Mapping[str, float] = field(default_factory=dict)
    lmms: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """lmms-eval's scores: task -> metric -> score, each in its own unit."""
    summary: Mapping[str, float] = field(default_factory=dict)
    """The benchmark's own means, where it has some (CLEAR)."""
    moved: Mapping[str, int] = field(default_factory=dict)
    """Counts of weights that moved: inside and outside the mask, and of them for the forget term."""
    look: Mapping[str, Any] = field(default_factory=dict)
    """The last look at what it was to forget, where training could stop by it."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: Mapping[str, int] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)

    @property
    def unlearned(self) -> bool:
        """Whether something was to be forgotten: neither vanilla nor oracle."""
        return self.role not in ("vanilla", "oracle")

    def score(self, column: str, metric: str = HEADLINE) -> Score | None:
        return self.scores.get(column, {}).get(metric)


@dataclass(frozen=True)
class Gate:
    """Whether the vanilla model knew the forget set better than the oracle, by a clear margin."""

    passed: bool
    text: str = ""
    margin: float | None = None
    """Vanilla's accuracy minus the oracle's."""


@dataclass(frozen=True)
class Results:
    """results.json."""

    name: str
    goal: Literal["visual", "full"]
    columns: tuple[Column, ...]
    models: tuple[Model, ...]
    seed: int | None = None
    benchmark: str = ""
    created: str = ""
    gate: Gate | None = None
    notes: tuple[str, ...] = ()
    """Findings that the pipeline wrote itself; the report computes its own."""
    judged: frozenset[str] = frozenset()
    """Ids of the items that settings were chosen by; the scores leave them out."""
    gallery: tuple[Mapping[str, Any], ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def of_role(self, role: Role) -> Model | None:
        return next((model for model in self.models if model.role == role), None)

    @property
    def vanilla(self) -> Model | None:
        return self.of_role("vanilla")

    @property
    def oracle(self) -> Model | None:
        return self.of_role("oracle")

    @property
    def unlearned(self) -> tuple[Model, ...]:
        return tuple(model for model in self.models if model.unlearned)

    @property
    def main(self) -> Model | None:
        """The model the headline speaks of: the chosen method, else the first method, else the first that unlearned."""
        methods = [model for model in self.models if model.role == "method"]
        chosen = [model for model in methods if model.chosen]
        return next(iter([*chosen, *methods, *self.unlearned]), None)


@dataclass(frozen=True, eq=False)
class Run:
    """A run directory: results.json and what stands beside it. Logs and masks may be missing."""

    directory: Path
    results: Results
    logs: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """Model -> one mapping per optimizer step (step, forget, retain, ...)."""
    masks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Mask -> its statistics (masks/NAME.json)."""

    def mask(self, model: Model | None) -> Mapping[str, Any]:
        """Statistics of a model's mask; empty if it has none."""
        return self.masks.get(model.mask, {}) if model and model.mask else {}


def load(run_dir: Path | str) -> Run:
    """Read a run directory.

    Raises:
        DataError: it is missing, results.json is missing or lacks a field, or a file is not JSON.
    """
    directory = Path(run_dir)
    if not directory.is_dir():
        raise DataError(f"{directory}: no such run directory")
    path = directory / "results.json"
    if not path.is_file():
        raise DataError(f"{directory}: has no results.json; finish the run (`mmunlearner run`) before its report")
    return Run(
        directory,
        parse(read_json(path), str(path)),
        {log.stem: tuple(_mappings(read_jsonl(log), str(log))) for log in _files(directory / "logs", "jsonl")},
        {mask.stem: _mapping(read_json(mask), str(mask)) for mask in _files(directory / "masks", "json")},
    )


def _files(folder: Path, ending: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*.{ending}") if not path.name.startswith("."))


def parse(raw: Any, where: str = "results.json") -> Results:
    """Check the content of results.json.

    Raises:
        DataError: a field is missing or of the wrong kind; the message names its place.
    """
    raw = _mapping(raw, where)
    columns = tuple(_column(each, f"{where}: columns[{i}]") for i, each in enumerate(_list(raw, "columns", where)))
    models = tuple(_model(each, f"{where}: models[{i}]") for i, each in enumerate(_list(raw, "models", where)))
    if not columns or not models:
        raise DataError(f"{where}: names no {'model' if columns else 'column'}; there is nothing to report")
    return Results(
        name=str(raw.get("name") or "run"),
        goal=_one_of(raw.get("goal", "visual"), ("visual", "full"), f"{where}: goal"),
        columns=columns,
        models=models,
        seed=raw.get("seed"),
        benchmark=str(raw.get("benchmark") or ""),
        created=str(raw.get("created") or ""),
        gate=_gate(raw.get("gate"), f"{where}: gate"),
        notes=tuple(str(text) for text in raw.get("findings") or ()),
        judged=frozenset(map(str, raw.get("judged") or ())),
        gallery=tuple(_mapping(each, f"{where}: gallery[{i}]") for i, each in enumerate(raw.get("gallery") or ())),
        manifest=_mapping(raw.get("manifest") or {}, f"{where}: manifest"),
    )


def _column(raw: Any, where: str) -> Column:
    name = str(_take(_mapping(raw, where), "name", where))
    chance = raw.get("chance")
    return Column(
        name,
        str(raw.get("title") or name),
        _one_of(_take(raw, "good", where), ("oracle", "kept", "down"), f"{where}: good"),
        None if chance is None else _number(chance, f"{where}: chance"),
        int(raw.get("n") or 0),
    )


def _model(raw: Any, where: str) -> Model:
    name = str(_take(_mapping(raw, where), "name", where))
    where = f"{where} ({name})"
    return Model(
        name=name,
        title=str(raw.get("title") or name),
        role=_one_of(
            _take(raw, "role", where), ("vanilla", "oracle", "baseline", "method", "control"), f"{where}: role"
        ),
        method=str(raw.get("method") or ""),
        free=str(raw.get("free") or ""),
        settings=_mapping(raw.get("settings") or {}, f"{where}: settings"),
        family=str(raw.get("family") or ""),
        chosen=bool(raw.get("chosen")),
        mask=str(raw.get("mask") or ""),
        trials=len(raw.get("trials") or ()),
        scores=_scores(_take(raw, "scores", where), f"{where}: scores"),
        validation=_scores(raw.get("scores_validation") or {}, f"{where}: scores_validation"),
        oracle_gap={
            column: _score(gap, f"{where}: oracle_gap.{column}")
            for column, gap in _mapping(raw.get("oracle_gap") or {}, f"{where}: oracle_gap").items()
        },
        forget_quality=_numbers(raw.get("forget_quality"), f"{where}: forget_quality"),
        lmms=_scores(raw.get("lmms") or {}, f"{where}: lmms"),
        summary=_numbers(raw.get("summary"), f"{where}: summary"),
        moved=_counts(raw.get("moved"), f"{where}: moved"),
        look=_mapping(raw.get("look") or {}, f"{where}: look"),
        seconds=_numbers(raw.get("seconds"), f"{where}: seconds"),
        peak_memory_bytes=_counts(raw.get("peak_memory_bytes"), f"{where}: peak_memory_bytes"),
        tokens=_counts(raw.get("tokens"), f"{where}: tokens"),
    )


def _gate(raw: Any, where: str) -> Gate | None:
    if raw is None:
        return None
    margin = _mapping(raw, where).get("margin")
    return Gate(
        bool(_take(raw, "passed", where)),
        str(raw.get("text") or ""),
        None if margin is None else _number(margin, f"{where}: margin"),
    )


def _scores(raw: Any, where: str) -> dict[str, dict[str, Score]]:
    return {
        column: {
            metric: _score(score, f"{where}.{column}.{metric}")
            for metric, score in _mapping(metrics, f"{where}.{column}").items()
        }
        for column, metrics in _mapping(raw, where).items()
    }


def _score(raw: Any, where: str) -> Score:
    raw = _mapping(raw, where)
    value, stderr = (_number(_take(raw, key, where), f"{where}: {key}") for key in ("value", "stderr"))
    return Score(value, stderr, int(raw.get("n") or 0))


def _numbers(raw: Any, where: str) -> dict[str, float]:
    return {key: _number(value, f"{where}.{key}") for key, value in _mapping(raw or {}, where).items()}


def _counts(raw: Any, where: str) -> dict[str, int]:
    return {key: int(value) for key, value in _numbers(raw, where).items()}


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where}: {value!r} is not a finite number")
    return float(value)


def _mapping(raw: Any, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise DataError(f"{where}: should be a JSON object, is {type(raw).__name__}")
    return raw


def _mappings(rows: list[Any], where: str) -> list[dict[str, Any]]:
    return [_mapping(row, f"{where}, row {number}") for number, row in enumerate(rows, 1)]


def _list(raw: Mapping[str, Any], key: str, where: str) -> list[Any]:
    value = _take(raw, key, where)
    if not isinstance(value, list):
        raise DataError(f"{where}: {key} should be a list, is {type(value).__name__}")
    return value


def _take(raw: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in raw:
        raise DataError(f"{where}: has no field {key!r}; make it anew with `mmunlearner run`")
    return raw[key]


def _one_of(value: Any, allowed: tuple[str, ...], where: str) -> Any:
    if value not in allowed:
        raise DataError(f"{where}: {value!r} is none of {', '.join(allowed)}")
    return value
