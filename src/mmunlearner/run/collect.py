"""Collection of a run's files in results.json, which the report reads. Needs no model."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar, get_args

from mmunlearner.config import ChoosingRule, MaskConfig, MethodConfig, Part, TrainConfig
from mmunlearner.core.files import read_json, write_bytes
from mmunlearner.core.names import resolve_name
from mmunlearner.core.recipes import plain
from mmunlearner.core.records import read_record
from mmunlearner.data import Example
from mmunlearner.data.images import encode_png
from mmunlearner.data.load import find_format
from mmunlearner.evaluate import distance_to_oracle, lmms, memorisation_gate
from mmunlearner.evaluate.metrics import Line
from mmunlearner.evaluate.scores import Gate, ItemScores, differences, item_scores, score_lines
from mmunlearner.methods import METHODS, resolve
from mmunlearner.report import results
from mmunlearner.report.records import Cost, MaskStatistics, Training
from mmunlearner.report.results import Column, GalleryEntry, Model, Results
from mmunlearner.run.choice import Choice, chosen_settings, rank
from mmunlearner.run.run_dir import REFERENCES, RunDir, mask_name
from mmunlearner.run.tuning import FORGOTTEN, TITLES
from mmunlearner.run.validation import answers, chance, validation_items
from mmunlearner.saliency.mask import sparse_warning
from mmunlearner.unlearn import planned_budget

PACKAGES = ("mmunlearner", "torch", "transformers", "accelerate", "peft", "numpy", "safetensors")
GALLERY = 12  # pictures at most: more would make the report heavy
Lines = dict[str, list[Line]]
T = TypeVar("T")
NOT_WEIGHED = (
    "Candidate answers were not weighed (evaluate.candidates: false): likelihoods, their agreement with the letters "
    "written, truth ratios and forget quality are absent."
)


@dataclass(frozen=True)
class _Evidence:
    """Questions of one run, or of several that repeat it, and the answers of every model."""

    items: Mapping[str, Sequence[Example]]
    """Column -> its questions."""
    test: Mapping[str, Lines]
    """Model -> its answers that the tables score."""
    half: Mapping[str, Lines]
    """Model -> its answers to the validation half."""
    judged: frozenset[str]
    """Ids of the validation half."""
    forget_entities: frozenset[str]
    """Of both halves: all of them were unlearned."""


def collect(run: RunDir, repetitions: Sequence[RunDir] = (), choice: Choice | None = None) -> Path:
    """Write results.json. Its scores leave out the validation half, which chose settings.

    With `repetitions`, the runs of a recipe's folds and seeds, scores are over the items of all of them; `choice` has
    the trials of its choosing folds.

    Raises:
        DataError: an evaluation is missing or broken.
    """
    runs = repetitions or (run,)
    evidence = _joined([_evidence(part, f"{part.config.name}: " if repetitions else "") for part in runs])
    evaluation, test, half = evidence.items, evidence.test, evidence.half
    # Scores of single items: models are compared item by item, which makes standard errors of differences small.
    accuracies = {
        name: {column: item_scores(lines) for column, lines in columns.items()} for name, columns in test.items()
    }
    oracle = test.get("oracle")
    collected = Results(
        name=run.config.name,
        goal=run.config.goal,
        seed=run.config.seed,
        benchmark=run.config.data.format,
        scoring=run.config.evaluate.scoring,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        columns=tuple(
            _column(run, column, items, test["vanilla"], bool(oracle))
            for column, items in evaluation.items()
            if column in test["vanilla"]  # absent if all its items are in the validation half
        ),
        models=_with_chosen(
            [
                _with_trials(_model(runs, name, test[name], half[name], oracle, accuracies), choice or {})
                for name in test
            ],
            run.config.choosing_rule,
        ),
        gate=memorisation_gate(test["vanilla"]["forget_vqa"], oracle["forget_vqa"]) if oracle else None,
        forget_entities=len(evidence.forget_entities),
        judged=evidence.judged,
        choosing_rule=run.config.choosing_rule,
        choosing_folds=run.config.choosing_folds if choice else (),
        folds=run.config.folds,
        findings=() if run.config.evaluate.candidates else (NOT_WEIGHED,),
        gallery=_gallery(run, evaluation, test, accuracies),
        manifest=manifest(run),
    )
    return results.write(collected, run.path)


def gate(run: RunDir) -> Gate:
    """Return the memorisation gate of a run with an oracle, on the items that the tables' scores are of.

    On a choosing fold, which has no table, all items judge.
    """
    evidence = _evidence(run)
    lines = evidence.half if run.config.only_chooses else evidence.test
    return memorisation_gate(lines["vanilla"]["forget_vqa"], lines["oracle"]["forget_vqa"])


def _evidence(run: RunDir, prefix: str = "") -> _Evidence:
    """Return a run's questions and answers; `prefix` tells their ids from those of a run beside it."""
    judged = {item.id for items in validation_items(run).values() for item in items}
    names = [name for name in (*REFERENCES, *run.config.methods) if run.evaluation(name).exists()]
    lines = {name: answers(run, name) for name in names}

    def where(columns: Lines, wanted: bool) -> Lines:
        chosen = {
            c: [_with_prefix(a, prefix) for a in of if (a["id"] in judged) == wanted] for c, of in columns.items()
        }
        # An empty column has no scores: the report treats it as one that the benchmark does not have.
        return {column: of_column for column, of_column in chosen.items() if of_column}

    return _Evidence(
        {c: [replace(i, id=f"{prefix}{i.id}") for i in items] for c, items in run.splits.evaluation.items()},
        {name: where(columns, False) for name, columns in lines.items()},
        {name: where(columns, True) for name, columns in lines.items()},
        frozenset(f"{prefix}{name}" for name in judged),
        frozenset(line["entity"] for line in lines["vanilla"]["forget_vqa"]),
    )


def _with_prefix(line: Line, prefix: str) -> Line:
    return {**line, "id": f"{prefix}{line['id']}"} if prefix else line


def _joined(parts: Sequence[_Evidence]) -> _Evidence:
    """Join the evidence of repetitions, column by column; a model that one of them lacks is left out."""

    def models(of: Callable[[_Evidence], Mapping[str, Lines]]) -> dict[str, Lines]:
        names = [name for name in of(parts[0]) if all(name in of(part) for part in parts)]
        return {name: _chained([of(part)[name] for part in parts]) for name in names}

    return _Evidence(
        _chained([part.items for part in parts]),
        models(lambda part: part.test),
        models(lambda part: part.half),
        frozenset().union(*(part.judged for part in parts)),
        frozenset().union(*(part.forget_entities for part in parts)),
    )


def _chained(parts: Sequence[Mapping[str, Sequence[T]]]) -> dict[str, list[T]]:
    columns = dict.fromkeys(column for part in parts for column in part)
    return {column: [item for part in parts for item in part.get(column, ())] for column in columns}


def unevaluated_model(run: RunDir, name: str) -> Model:
    """Return the record of an unlearned model that was not evaluated: how it was made."""
    method, trained = run.config.methods[name], read_record(run.trained(name), Training)
    budget = planned_budget(run.config.train, method, run.splits)
    budget_settings = {key: getattr(budget, key) for key in ("learning_rate", "steps", "batch_size", "questions")}
    terms = resolve(method.method, METHODS)
    mask = run.user_mask.name if run.user_mask else mask_name(method.mask) if method.mask else ""
    return Model(
        name=name,
        title=method.method,
        role=method.role,
        method=method.method,
        settings={**({} if terms.edit else budget_settings), **terms.options, **method.options},
        mask=mask,
        free=free(run, method),
        moved=trained.get("moved") or {},
        look=trained.get("look") or {},
    )


def _column(run: RunDir, column: str, items: Sequence[Example], vanilla: Lines, has_oracle: bool) -> Column:
    ids = {line["id"] for line in vanilla[column]}
    to_forget = {name for group in FORGOTTEN[run.config.goal] for name in group}
    return Column(
        name=column,
        title=" ".join(TITLES.get(word, word.capitalize()) for word in column.split("_")),
        # Forgetting more than the oracle does is no success; where there is no oracle, lower is better.
        good="kept" if column not in to_forget else "oracle" if has_oracle else "down",
        chance=chance([item for item in items if item.id in ids]),  # of the same items as the scores
        n=len(ids),
        bound=run.config.bounds[column] / 100 if column in run.config.bounds else None,
    )


def _model(
    runs: Sequence[RunDir],
    name: str,
    test: Lines,
    half: Lines,
    oracle: Lines | None,
    accuracies: Mapping[str, Mapping[str, ItemScores]],
) -> Model:
    run, method = runs[0], runs[0].config.methods.get(name)
    # A reference that the user brings has no record of its training.
    records = [
        read_record(part.trained(name), Training) if part.trained(name).exists() else Training() for part in runs
    ]
    # What is of one training, such as the settings that its trials chose, has no mean over repetitions.
    trained = records[0] if len(runs) == 1 else Training()
    lmms_scores = run.evaluation(name) / lmms.FILE
    summary = find_format(run.config.data.format).summary
    common = Model(
        name=name,
        title=name.replace("_", " "),
        role="oracle" if name == "oracle" else "vanilla",
        settings=trained.get("settings", {}),
        trials=tuple(trained["tuning"]["trials"]) if "tuning" in trained else (),
        scores={column: score_lines(lines) for column, lines in test.items()},
        scores_validation={column: score_lines(lines) for column, lines in half.items()},
        oracle_gap=differences(accuracies[name], accuracies["oracle"]) if oracle and name != "oracle" else {},
        forget_quality=(
            distance_to_oracle(test["forget_vqa"], oracle["forget_vqa"]) if oracle and "forget_vqa" in test else None
        ),
        # `evaluate --lmms` writes them after the run; the next `run` of the recipe takes them in.
        lmms=lmms.read_scores(lmms_scores).columns if lmms_scores.exists() else {},
        summary=resolve_name(summary, "summary")(test, oracle) if summary else {},
        moved=trained.get("moved") or {},
        look=trained.get("look") or {},
        **_mean_costs([_costs(part, name, method, record) for part, record in zip(runs, records, strict=True)]),
    )
    if method is None:  # a reference
        return common
    return replace(
        common,
        title=method.title or common.title,
        role=method.role,
        method=method.method,
        family=method.family,
        free=free(run, method),
        differences={
            rival: differences(accuracies[name], scores)
            for rival, scores in accuracies.items()
            if rival not in (name, "oracle")  # the difference to the oracle is `oracle_gap`
        },
        mask=mask_name(method.mask) if method.mask else "",
        mask_config=method.mask,
        **_sparsity(run, method),
    )


def _with_trials(model: Model, choice: Choice) -> Model:
    """Give a model that choosing folds tuned its trials and settings."""
    if model.name not in choice:
        return model
    return replace(model, trials=tuple(choice[model.name]), settings=dict(chosen_settings(choice, model.name)))


def _sparsity(run: RunDir, method: MethodConfig) -> dict[str, Any]:
    """Return what a method's mask leaves the forget term, and the warning where that is hardly anything."""
    if method.mask is None:
        return {}
    statistics = _mask_statistics(run, method.mask)
    share = statistics.get("forget_share")  # absent in earlier masks
    return {"forget_share": share, "mask_warning": sparse_warning(statistics["density"], share)}


def _mask_statistics(run: RunDir, mask: MaskConfig) -> MaskStatistics:
    return read_record(run.mask(mask_name(mask)).with_suffix(".json"), MaskStatistics)


def free(run: RunDir, method: MethodConfig) -> str:
    """Describe the weights that may move outside the mask."""
    # In the table beside the scores, because these weights decide more than the mask does.
    train = planned_budget(run.config.train, method, None)
    if method.mask is None:
        whole_model = set(get_args(Part)) <= set(train.parts) and not train.layers
        return f"{'everything' if whole_model else _parts_in_words(train, train.parts)}, by both terms"
    words = {
        "all": f"{_parts_in_words(train, train.parts) if train.layers else 'everything'}, by the retain term",
        "parts": f"the rest of {_parts_in_words(train, method.mask.parts)}, by the retain term",
        "mask": "nothing",
    }
    return words[train.free]


def _parts_in_words(train: TrainConfig, parts: Sequence[Part]) -> str:
    """Return parts that train, with the layers that train of them: `projector, language (last 10 layers)`."""
    return ", ".join(f"{part} (layers: {train.layers[part]})" if part in train.layers else part for part in parts)


def _costs(run: RunDir, name: str, method: MethodConfig | None, trained: Mapping[str, Any]) -> dict[str, Any]:
    """Return the costs of a model's steps by kind: seconds, peak memory, tokens."""
    path = run.evaluated(name)
    # train.json of a tuned method has the cost of its best trial, and under `tuning` that of all trials.
    costs: dict[str, Mapping[str, Any]] = {
        "unlearn" if method else "finetune": trained,
        "tune": trained.get("tuning", {}),
    }
    costs["evaluate"] = read_record(path, Cost) if path.exists() else {}
    if method and method.mask:
        costs["mask"] = _mask_statistics(run, method.mask)
    kinds = ("seconds", "peak_memory_bytes", "tokens")
    return {kind: {step: cost[kind] for step, cost in costs.items() if kind in cost} for kind in kinds}


def _mean_costs(costs: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, Any]:
    """Return the means of costs over runs, kind by kind and step by step; counts stay whole numbers."""
    means = {
        kind: {step: fmean(cost[kind][step] for cost in costs if step in cost[kind]) for step in costs[0][kind]}
        for kind in costs[0]
    }
    return {
        kind: steps if kind == "seconds" else {step: round(value) for step, value in steps.items()}
        for kind, steps in means.items()
    }


def _with_chosen(models: Sequence[Model], rule: ChoosingRule) -> tuple[Model, ...]:
    """Mark in each family the variant that did best where settings were chosen."""
    families: dict[str, list[Model]] = defaultdict(list)
    for model in models:
        if model.family:
            families[model.family].append(model)
    chosen = set()
    for variants in families.values():
        if tuned := [model for model in variants if model.trials]:
            # Not by the test scores: such a choice would flatter the family.
            chosen.add(min(tuned, key=lambda model: min(rank(trial, rule) for trial in model.trials)).name)
        elif len(variants) == 1:
            chosen.add(variants[0].name)
    return tuple(replace(model, chosen=model.name in chosen) for model in models)


def _gallery(
    run: RunDir,
    evaluation: Mapping[str, Sequence[Example]],
    test: Mapping[str, Lines],
    accuracies: Mapping[str, Mapping[str, ItemScores]],
) -> tuple[GalleryEntry, ...]:
    """Return one question about an unseen view of each forgotten entity, and every model's answer.

    It is the first that the vanilla model answers correctly: what it never knew shows no forgetting. Where it knows
    none about an entity, the first of all, which the report marks.
    """
    column = "forget_vqa_test" if "forget_vqa_test" in test["vanilla"] else "forget_vqa"
    outputs = {name: {line["id"]: line["output"] for line in columns.get(column, [])} for name, columns in test.items()}
    known = accuracies["vanilla"][column].values
    # Letters of options say little to a reader.
    shown = [
        (item, item.image)
        for item in evaluation.get(column, ())
        if item.image is not None and item.id in outputs["vanilla"] and item.task == "generation"
    ]
    entries = []
    for entity in list(dict.fromkeys(item.entity for item, _ in shown))[:GALLERY]:
        # The first of those known best.
        item, image = max((pair for pair in shown if pair[0].entity == entity), key=lambda pair: known[pair[0].id])
        picture = Path("gallery") / f"{len(entries)}.png"  # relative: a run directory may be moved
        write_bytes(run.path / picture, encode_png(image.open(), compress_level=-1))
        replies = {name: texts[item.id] for name, texts in outputs.items() if item.id in texts}
        correct = {name: bool(accuracies[name][column].values[item.id]) for name in replies}
        entries.append(GalleryEntry(entity, item.question, item.answer, replies, correct, str(picture)))
    return tuple(entries)


def manifest(run: RunDir) -> dict[str, Any]:
    """Return what is needed to repeat the run: configuration, versions, hashes of the data."""
    return {
        "config": plain(run.config),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "platform": f"{platform.system()} {platform.machine()}",
        "data": read_json(run.path / "data.json") if (run.path / "data.json").exists() else {},
    }
