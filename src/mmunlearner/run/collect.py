"""A run's files -> results.json: the one thing that a report reads. Needs no model."""

from __future__ import annotations

import io
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from mmunlearner.config import MethodConfig
from mmunlearner.core.files import read_json, write_bytes, write_json
from mmunlearner.core.recipes import plain
from mmunlearner.data import Example
from mmunlearner.evaluate import distance_to_oracle, lmms, memorisation_gate, oracle_gap, read_columns
from mmunlearner.evaluate.clear import summary
from mmunlearner.evaluate.metrics import Line
from mmunlearner.evaluate.scores import score_lines
from mmunlearner.run.run_dir import REFERENCES, RunDir, mask_name
from mmunlearner.run.tuning import FORGOTTEN

TITLES = {"vqa": "VQA", "qa": "QA", "test": "(unseen)"}
PACKAGES = ("mmunlearner", "torch", "transformers", "accelerate", "peft", "numpy", "safetensors")
GALLERY = 12
SUMMARISED = ("clear",)
"""Formats whose benchmark sums a model up by harmonic means."""
Lines = dict[str, list[Line]]
Columns = Mapping[str, Sequence[Example]]
"""Column -> the items of it."""
NOT_WEIGHED = (
    "Candidate answers were not weighed (evaluate.candidates: false): likelihoods, their agreement with the letters "
    "written, truth ratios and forget quality are absent."
)


def chance(items: Sequence[Example]) -> float:
    """Accuracy of guessing: one of the options, or one of the answers that the column gives for the same fact."""
    answers: dict[str, set[str]] = defaultdict(set)
    for item in items:
        answers[item.attribute].add(item.answer)
    guesses = [
        1 / len(i.choices) if i.choices else (1 / len(answers[i.attribute]) if i.attribute else 0.0) for i in items
    ]
    return sum(guesses) / max(len(guesses), 1)


def validation_values(run: RunDir, name: str, validation: Columns) -> dict[str, float]:
    """Accuracy of an evaluated model on the validation items."""
    lines = read_columns(run.evaluation(name))
    ids = {column: {item.id for item in items} for column, items in validation.items()}
    chosen = {c: [line for line in lines.get(c, []) if line["id"] in ids[c]] for c in validation}
    return {c: score_lines(some)["accuracy"].value for c, some in chosen.items() if some}


def floor(run: RunDir, validation: Columns) -> tuple[dict[str, float], Literal["oracle", "chance"]]:
    """The level to which forgotten columns should come down, and whose it is: chance where there is no oracle."""
    if (run.evaluation("oracle") / "scores.json").exists():
        return validation_values(run, "oracle", validation), "oracle"
    return {column: chance(items) for column, items in validation.items()}, "chance"


def in_words(column: str) -> str:
    """`forget_vqa_test` -> `forget VQA (unseen)`"""
    return " ".join(TITLES.get(word, word) for word in column.split("_"))


def collect(
    run: RunDir, evaluation: Mapping[str, Sequence[Example]], validation: Mapping[str, Sequence[Example]]
) -> Path:
    """Write results.json. Forget and retain columns are scored on the half that chose nothing.

    Raises:
        DataError: an evaluation is missing or broken.
    """
    names = [name for name in (*REFERENCES, *run.config.methods) if run.evaluation(name).exists()]
    everything = {name: read_columns(run.evaluation(name)) for name in names}
    judged = {item.id for items in validation.values() for item in items}
    test = {name: _where(lines, lambda line: line["id"] not in judged) for name, lines in everything.items()}
    half = {name: _where(lines, lambda line: line["id"] in judged) for name, lines in everything.items()}
    oracle = test.get("oracle")
    columns = [
        _column(run, column, items, test["vanilla"])
        for column, items in evaluation.items()
        if column in test["vanilla"]
    ]
    models = [_model(run, name, test[name], half[name], oracle) for name in names]
    _choose(run, models)
    gate = memorisation_gate(test["vanilla"]["forget_vqa"], oracle["forget_vqa"]) if oracle else None
    return write_json(
        run.path / "results.json",
        {
            "name": run.config.name,
            "goal": run.config.goal,
            "seed": run.config.seed,
            "benchmark": run.config.data.format,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "columns": columns,
            "models": models,
            "gate": {"passed": gate.passed, "margin": gate.margin, "stderr": gate.stderr, "text": gate.text}
            if gate
            else None,
            "judged": sorted(judged),
            "findings": [] if run.config.evaluate.candidates else [NOT_WEIGHED],
            "gallery": _gallery(run, evaluation, test),
            "manifest": manifest(run),
        },
    )


def _where(lines: Lines, keep: Callable[[Line], bool]) -> Lines:
    return {column: some for column, all_of in lines.items() if (some := [line for line in all_of if keep(line)])}


def _column(run: RunDir, column: str, items: Sequence[Example], vanilla: Lines) -> dict[str, Any]:
    ids = {line["id"] for line in vanilla[column]}
    goal = {c for group in FORGOTTEN[run.config.goal] for c in group}
    good = "kept" if column not in goal else "oracle" if (run.evaluation("oracle")).exists() else "down"
    title = " ".join(TITLES.get(word, word.capitalize()) for word in column.split("_"))
    return {
        "name": column,
        "title": title,
        "good": good,
        "chance": chance([item for item in items if item.id in ids]),
        "n": len(ids),
    }


def _model(run: RunDir, name: str, test: Lines, half: Lines, oracle: Lines | None) -> dict[str, Any]:
    method = run.config.methods.get(name)
    trained = read_json(run.trained(name)) if run.trained(name).exists() else {}
    quality = distance_to_oracle(test["forget_vqa"], oracle["forget_vqa"]) if oracle and "forget_vqa" in test else None
    gap = oracle_gap(test, oracle) if oracle and name != "oracle" else {}
    return {
        "name": name,
        "title": (method.title if method else "") or name.replace("_", " "),
        "role": method.role if method else name,
        "method": method.method if method else None,
        "family": method.family if method else "",
        "chosen": False,
        "free": free(run, method) if method else "",
        "mask": _mask_of(method),
        "settings": trained.get("settings", {}),
        "trials": trained.get("tuning", {}).get("trials", []),
        "scores": {column: _scores(lines) for column, lines in test.items()},
        "scores_validation": {column: _scores(lines) for column, lines in half.items()} or None,
        "oracle_gap": {column: {"value": score.value, "stderr": score.stderr} for column, score in gap.items()},
        "forget_quality": quality._asdict() if quality else None,
        "lmms": _lmms(run.evaluation(name) / lmms.FILE),
        "summary": summary(test, oracle) if run.config.data.format in SUMMARISED else {},
        "moved": trained.get("moved"),
        "look": trained.get("look"),
        **_costs(run, name, method, trained),
    }


def _lmms(path: Path) -> dict[str, Any]:
    """What `mmunlearner evaluate --lmms` left beside a model's answers."""
    return read_json(path)["columns"] if path.exists() else {}


def _scores(lines: Sequence[Line]) -> dict[str, Any]:
    return {metric: score._asdict() for metric, score in score_lines(lines).items()}


def _mask_of(method: MethodConfig | None) -> str | None:
    return mask_name(method.mask) if method and method.mask else None


def free(run: RunDir, method: MethodConfig) -> str:
    """What may move outside the mask, in words: it decides more than the mask does."""
    kept = {**plain(run.config.train), **method.train}["free"]
    if method.mask is None:
        return "everything, by both terms"
    words = {
        "all": "everything, by the retain term",
        "parts": f"the rest of {', '.join(method.mask.parts)}, by the retain term",
    }
    return words.get(str(kept), "nothing")


def _costs(run: RunDir, name: str, method: MethodConfig | None, trained: Mapping[str, Any]) -> dict[str, Any]:
    path = run.evaluation(name) / "cost.json"
    costs = {"unlearn" if method else "finetune": trained, "tune": trained.get("tuning", {})}
    costs["evaluate"] = read_json(path) if path.exists() else {}
    key = _mask_of(method)
    if key:
        costs["mask"] = read_json(run.mask(key).with_suffix(".json"))
    return {
        "seconds": {step: cost["seconds"] for step, cost in costs.items() if "seconds" in cost},
        "peak_memory_bytes": {
            step: cost["peak_memory_bytes"] for step, cost in costs.items() if "peak_memory_bytes" in cost
        },
        "tokens": {step: cost["tokens"] for step, cost in costs.items() if "tokens" in cost},
    }


def _choose(run: RunDir, models: list[dict[str, Any]]) -> None:
    """Of each family, mark the variant that did best on the validation half."""
    families: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for model in models:
        if model["family"]:
            families[model["family"]].append(model)
    for variants in families.values():
        with_trials = [m for m in variants if m["trials"]]
        if with_trials:
            best = min(with_trials, key=lambda m: min(trial["objective"] for trial in m["trials"]))
            best["chosen"] = True
        elif len(variants) == 1:
            variants[0]["chosen"] = True


def _gallery(
    run: RunDir, evaluation: Mapping[str, Sequence[Example]], test: Mapping[str, Lines]
) -> list[dict[str, Any]]:
    """One question about an unseen view of each forgotten entity, and what every model says."""
    column = "forget_vqa_test" if "forget_vqa_test" in test["vanilla"] else "forget_vqa"
    said = {name: {line["id"]: line["output"] for line in lines.get(column, [])} for name, lines in test.items()}
    shown: dict[str, dict[str, Any]] = {}
    for item in evaluation.get(column, ()):
        if item.entity in shown or not item.images or item.id not in said["vanilla"] or item.task != "generation":
            continue
        picture = Path("gallery") / f"{len(shown)}.png"
        write_bytes(run.path / picture, _png(item))
        shown[item.entity] = {
            "entity": item.entity, "image": str(picture), "question": item.question, "truth": item.answer,
            "answers": {name: texts[item.id] for name, texts in said.items() if item.id in texts},
        }  # fmt: skip
    return list(shown.values())[:GALLERY]


def _png(item: Example) -> bytes:
    stream = io.BytesIO()
    if item.image is not None:
        item.image.open().save(stream, "PNG")
    return stream.getvalue()


def manifest(run: RunDir) -> dict[str, Any]:
    """What it takes to make the run again."""
    return {
        "config": plain(run.config),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "platform": f"{platform.system()} {platform.machine()}",
        "data": read_json(run.path / "data.json") if (run.path / "data.json").exists() else {},
    }
