"""Schema of results.json, and the reader of a run directory. No other module knows the fields of the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmunlearner.config import ChoosingRule, MaskConfig, Scoring
from mmunlearner.core.files import read_json, write_json
from mmunlearner.core.recipes import plain
from mmunlearner.core.records import check_record, read_record, read_records
from mmunlearner.core.validation import FIELDS, InvalidError, validate
from mmunlearner.errors import DataError
from mmunlearner.evaluate.metrics import Line, is_correct
from mmunlearner.evaluate.saved import Score, read_lines
from mmunlearner.evaluate.scores import Difference, ForgetQuality, Gate, ItemScores, differences, item_scores
from mmunlearner.report.records import LogLine, MaskStatistics, StopCheck, Trial

Good = Literal["oracle", "kept", "down"]
Role = Literal["vanilla", "oracle", "baseline", "method", "control"]
HEADLINE = "accuracy"
FILE = "results.json"


@dataclass(frozen=True)
class Column:
    """One evaluation set, and the direction in which its score should go."""

    name: str
    title: str
    good: Good
    chance: float | None = None
    """Accuracy of guessing."""
    n: int = 0
    """Items that were scored."""
    bound: float | None = None
    """Largest loss against vanilla (`kept`), or distance from the oracle, that is allowed (a fraction); None: the
    report's default."""


@dataclass(frozen=True)
class Model:
    """One evaluated model: its making, its scores and its cost."""

    name: str
    title: str
    role: Role
    method: str = ""
    family: str = ""
    chosen: bool = False
    """True for the variant of its family that the validation half picked."""
    free: str = ""
    """In words: the weights outside the mask that may move, and the term that moves them."""
    mask: str = ""
    """Name of its mask's file (masks/NAME.json); empty: none."""
    mask_config: MaskConfig | None = None
    """Options of its mask; None in files of earlier versions too."""
    forget_share: float | None = None
    """Share of the forget set's saliency (sum of squared gradients at vanilla) that lies inside its mask; None: no
    mask, or an earlier version's file."""
    mask_warning: str = ""
    """Warning of the run about a mask that leaves the forget term hardly anything: `it selects ...; set ...`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    """Settings that were tried."""
    scores: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """Column -> metric -> score, without the items that settings were chosen by."""
    scores_validation: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """The same for the items that settings were chosen by."""
    oracle_gap: Mapping[str, Difference] = field(default_factory=dict)
    """Accuracy minus the oracle's, per column."""
    differences: Mapping[str, Mapping[str, Difference]] = field(default_factory=dict)
    """If this model unlearned: name of another model, except the oracle -> column -> accuracy minus that model's."""
    forget_quality: ForgetQuality | None = None
    lmms: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    """lmms-eval's scores: task -> metric -> score, each in its own unit."""
    summary: Mapping[str, float] = field(default_factory=dict)
    """The benchmark's own means, if it has any (CLEAR)."""
    moved: Mapping[str, int] = field(default_factory=dict)
    """Counts of weights that moved inside and outside the mask; of these, those that the forget term moved."""
    look: Mapping[str, Any] = field(default_factory=dict)
    """The last check of early stopping; empty if training could not stop early."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_bytes: Mapping[str, int] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)

    @property
    def unlearned(self) -> bool:
        """True for every model except vanilla and the oracle."""
        return self.role not in ("vanilla", "oracle")

    def score(self, column: str, metric: str = HEADLINE) -> Score | None:
        """Return a score; None if the model has none."""
        return self.scores.get(column, {}).get(metric)


@dataclass(frozen=True)
class GalleryEntry:
    """A question about an image and the answers of all models."""

    entity: str
    question: str
    truth: str
    answers: Mapping[str, str]
    """Model -> answer."""
    correct: Mapping[str, bool] = field(default_factory=dict)
    """Model -> whether its answer is correct."""
    image: str = ""
    """File within the run directory."""


@dataclass(frozen=True)
class Results:
    """Content of results.json."""

    name: str
    goal: Literal["visual", "full"]
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    models: Annotated[tuple[Model, ...], Field(min_length=1)]
    seed: int | None = None
    benchmark: str = ""
    scoring: Scoring | None = None
    """Rules by which the answers were scored; None in files of earlier versions, which had rules of their own."""
    created: str = ""
    """Time in UTC, ISO 8601."""
    gate: Gate | None = None
    """The memorisation gate; None without an oracle."""
    forget_entities: int = 0
    """Entities that were to be forgotten; 0: unknown."""
    judged: frozenset[str] = frozenset()
    """Ids of the items that settings were chosen by; `scores` leave them out."""
    choosing_rule: ChoosingRule | None = None
    """Rule by which settings were chosen; None in files of earlier versions, which took the smallest distance."""
    choosing_folds: tuple[str, ...] = ()
    """Folds that chose the settings; empty: a validation half of the run did, if any."""
    folds: tuple[str, ...] = ()
    """Folds that the scores are of; empty: there is one set to forget."""
    findings: tuple[str, ...] = ()
    """Notes that the run wrote itself; the report computes its own findings."""
    gallery: tuple[GalleryEntry, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """Configuration, versions and hashes of the data, to repeat the run."""

    def of_role(self, role: Role) -> Model | None:
        """Return the first model of a role."""
        return next((model for model in self.models if model.role == role), None)

    @property
    def vanilla(self) -> Model | None:
        """The model before unlearning."""
        return self.of_role("vanilla")

    @property
    def oracle(self) -> Model | None:
        """The model that never saw the images of the forget set."""
        return self.of_role("oracle")

    @property
    def unlearned(self) -> tuple[Model, ...]:
        """All models that unlearned something."""
        return tuple(model for model in self.models if model.unlearned)

    @property
    def by_name(self) -> dict[str, Model]:
        """Models by name; the chosen variant of a family also by the family's name, unless a model has that name."""
        models = {model.name: model for model in self.models}
        variants = [model for model in self.models if model.chosen and model.family]
        return models | {model.family: model for model in variants if model.family not in models}

    @property
    def main(self) -> Model | None:
        """The model of the headline: the chosen method, else the first method, else the first that unlearned."""
        methods = [model for model in self.models if model.role == "method"]
        chosen = [model for model in methods if model.chosen]
        return next(iter([*chosen, *methods, *self.unlearned]), None)


@dataclass(frozen=True)
class Run:
    """A run directory: results.json, logs and statistics of masks. Logs and statistics may be missing."""

    directory: Path
    results: Results
    logs: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    """Model -> one mapping per optimizer step (step, forget, retain, ...)."""
    masks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Mask -> its statistics (masks/NAME.json)."""


def load(run_dir: Path | str) -> Run:
    """Read a run directory.

    Raises:
        DataError: it is missing, results.json is missing or lacks a field, or a file is not JSON.
    """
    directory = Path(run_dir)
    if not directory.is_dir():
        raise DataError(f"{directory}: no such run directory; expected one that `mmunlearner run` wrote")
    path = directory / FILE
    if not path.is_file():
        raise DataError(f"{directory}: has no {FILE}; finish the run (`mmunlearner run`) before its report")
    # Hidden files are not the run's own: macOS, for one, adds `._mask.json` to copied folders.
    logs, masks = (
        sorted(file for file in (directory / folder).glob(f"*{suffix}") if not file.name.startswith("."))
        for folder, suffix in (("logs", ".jsonl"), ("masks", ".json"))
    )
    statistics = {mask.stem: read_record(mask, MaskStatistics) for mask in masks}
    return Run(
        directory,
        _completed(parse(read_json(path), str(path)), directory, statistics),
        {log.stem: tuple(read_records(log, LogLine)) for log in logs},
        statistics,
    )


def parse(content: Any, source: str = FILE) -> Results:
    """Return the validated content of results.json; `source` is its name in errors.

    Raises:
        DataError: a field is missing or wrong; the message names its path.
    """
    try:
        results = validate(content, Results, FIELDS)
    except InvalidError as error:
        raise DataError(f"{source}: {error}; results of another version are made anew with `mmunlearner run`") from None
    for model in results.models:
        if model.look:
            check_record(model.look, StopCheck, f"{source}: look of {model.name}")
    # Validation drops null entries, but the manifest should be shown as it was written.
    return replace(results, manifest=content.get("manifest") or {})


def write(results: Results, run_dir: Path | str) -> Path:
    """Write results.json, whole or not at all, and return the file."""
    return write_json(Path(run_dir) / FILE, plain(results))


# --- results of earlier versions ------------------------------------------------------------------------------------
# Until 2026-11-26 results.json had no differences between models: each report computed them from the saved answers.


def _completed(results: Results, directory: Path, masks: Mapping[str, Mapping[str, Any]]) -> Results:
    """Return the results with the fields that earlier versions did not write, computed from saved answers.

    Without the answers the fields stay empty: differences are then those of two separate scores.

    Args:
        masks: name -> statistics.
    """
    if results.forget_entities:  # every later version writes it
        return results
    lines = {
        model.name: {path.stem: read_lines(path) for path in (directory / "evaluation" / model.name).glob("*.jsonl")}
        for model in results.models
    }
    accuracies = {model.name: _accuracies(model, lines[model.name], results.judged) for model in results.models}
    models = []
    for model in results.models:
        # `oracle_gap` has the differences from the oracle.
        references = [name for name in lines if name not in (model.name, "oracle")] if model.unlearned else []
        paired = {name: differences(accuracies[model.name], accuracies[name]) for name in references}
        mask_config, statistics = model.mask_config, masks.get(model.mask, {})
        # The statistics hold the two options that the findings on a random mask depend on.
        if mask_config is None and "parts" in statistics:
            mask_config = MaskConfig(parts=tuple(statistics["parts"]), random=bool(statistics.get("random")))
        models.append(replace(model, differences=paired, mask_config=mask_config))
    forget_lines = next((columns["forget_vqa"] for columns in lines.values() if "forget_vqa" in columns), [])
    gallery = []
    for entry in results.gallery:
        # All its questions are open ones.
        correct = {
            name: is_correct({"task": "generation", "output": text, "answer": entry.truth})
            for name, text in entry.answers.items()
        }
        gallery.append(replace(entry, correct=correct))
    return replace(
        results,
        models=tuple(models),
        forget_entities=len({line["entity"] for line in forget_lines}),
        gallery=tuple(gallery),
    )


def _accuracies(model: Model, columns: Mapping[str, list[Line]], judged: frozenset[str]) -> dict[str, ItemScores]:
    """Score the items behind the model's scores; a column whose file holds other items is left out."""
    # Scores leave out the items that settings were chosen by, so a difference must not use them either.
    scored = {
        column: [line for line in lines if str(line["id"]) not in judged]
        for column, lines in columns.items()
        if column in model.scores
    }
    return {
        column: item_scores(lines) for column, lines in scored.items() if len(lines) == model.scores[column][HEADLINE].n
    }
