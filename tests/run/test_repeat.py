"""Runs repeated for folds and seeds: each is the run it would be alone, and the report is over all their items."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.miniature import recipe

from mmunlearner.config import DataConfig, EvaluateConfig, MethodConfig, ModelConfig, RunConfig, TrainConfig
from mmunlearner.core.files import read_json
from mmunlearner.data.benchmarks.people.folds import FOLDS
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate import read_columns
from mmunlearner.evaluate.scores import item_scores, mean_score
from mmunlearner.models.sources import ASSETS
from mmunlearner.report.results import load
from mmunlearner.run import run as pipeline
from mmunlearner.run.repeat import repetitions

METHODS = {"npo": MethodConfig("npo")}


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two seeds."""
    config = replace(recipe(tmp_path_factory.mktemp("seeds")), methods=METHODS, seeds=(3, 7))
    pipeline.run(config)
    return Path(config.out) / config.name


def test_a_repetition_is_the_run_that_it_would_be_alone(repeated: Path, tmp_path: Path):
    alone = replace(recipe(tmp_path), methods=METHODS, seed=7)
    pipeline.run(alone)
    scores = [
        read_json(run / "evaluation" / "npo" / "scores.json")
        for run in (repeated / "seed7", Path(alone.out) / alone.name)
    ]
    assert scores[0] == scores[1]


def test_scores_are_over_the_items_of_all_repetitions(repeated: Path):
    whole, parts = load(repeated).results, [load(repeated / f"seed{seed}").results for seed in (3, 7)]
    assert [model.name for model in whole.models] == [model.name for model in parts[0].models]
    lines = [read_columns(repeated / f"seed{seed}" / "evaluation" / "npo") for seed in (3, 7)]
    for column in parts[0].columns:
        score = whole.by_name["npo"].scores[column.name]["accuracy"]
        of_parts = [part.by_name["npo"].scores[column.name]["accuracy"] for part in parts]
        assert score.n == sum(part.n for part in of_parts)
        assert score.value == pytest.approx(sum(part.value for part in of_parts) / 2)
        # The same entity in two runs is one cluster: two runs of it are not independent.
        items = [item_scores(part[column.name]) for part in lines]
        expected = mean_score(
            [value for part in items for value in part.values.values()],
            [part.entities[name] for part in items for name in part.values],
        )
        assert score.stderr == pytest.approx(expected.stderr)
    assert whole.forget_entities == parts[0].forget_entities
    assert (repeated / "report.html").stat().st_size > 0


def test_a_complete_repetition_is_not_made_again(repeated: Path):
    before = {path: path.stat().st_mtime_ns for path in repeated.rglob("*.safetensors")}
    config = replace(recipe(repeated.parents[1]), methods=METHODS)
    pipeline.run(replace(config, seeds=(7,)))  # fewer seeds, in the same folder
    assert {path: path.stat().st_mtime_ns for path in repeated.rglob("*.safetensors")} == before
    assert load(repeated).results.by_name["npo"].score("forget_vqa", "accuracy").n > 0  # pyright: ignore


@pytest.mark.slow
def test_each_fold_forgets_its_people_and_has_its_oracle(tmp_path: Path):
    for fold in ("4", "1"):
        shutil.copytree(ASSETS / "oracle", tmp_path / "oracles" / fold)
    config = RunConfig(
        out=str(tmp_path),
        folds=("4", "1"),
        data=DataConfig("people"),
        model=ModelConfig(vanilla="people:vanilla", oracle=f"{tmp_path}/oracles/{{fold}}"),
        train=TrainConfig(steps=1, batch_size=2, retain_per_forget=1),
        evaluate=EvaluateConfig(limit=4, candidates=False, max_new_tokens=3),
        methods={"unlikelihood": MethodConfig("unlikelihood")},
    )
    pipeline.run(config)
    results = load(tmp_path / "run").results
    assert results.forget_entities == 5
    people = {line["entity"] for fold in ("4", "1") for line in _lines(tmp_path / "run" / fold, "forget_vqa")}
    assert people == {*FOLDS["4"], *FOLDS["1"]}
    assert (tmp_path / "run" / "data" / "people.json").is_file()  # once, for both
    assert not (tmp_path / "run" / "4" / "data").exists()


def _lines(run: Path, column: str) -> list[dict[str, Any]]:
    return read_columns(run / "evaluation" / "unlikelihood")[column]


def test_names_and_options_of_repetitions():
    config = RunConfig(
        name="x", out="o", folds=("a", "b"), seeds=(0, 1), model=ModelConfig(vanilla="v", oracle="folds/{fold}")
    )
    recipes = repetitions(config)
    assert [r.name for r in recipes] == ["a-seed0", "a-seed1", "b-seed0", "b-seed1"]
    assert [(r.data.fold, r.seed, r.model.oracle, r.out) for r in recipes[1:3]] == [
        ("a", 1, "folds/a", "o/x"), ("b", 0, "folds/b", "o/x"),
    ]  # fmt: skip
    assert not any(repetitions(r) for r in recipes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": ("a", "a")}, "folds a, a: one is named twice"),
        ({"seeds": (1, 1)}, "seeds 1, 1: one is named twice"),
        (
            {"folds": ("a", "b"), "model": ModelConfig(vanilla="v", oracle="one")},
            "model.oracle one: each fold has an oracle",
        ),
        ({"folds": ("../evil",)}, "name"),
    ],
)
def test_wrong_repetitions_are_refused(change: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        repetitions(replace(RunConfig(model=ModelConfig(vanilla="v")), **change))


@pytest.mark.slow
def test_a_mistake_in_the_last_fold_is_found_before_the_first_begins(tmp_path: Path):
    config = RunConfig(
        out=str(tmp_path), folds=("4", "12z"), data=DataConfig("people"), model=ModelConfig(vanilla="people:vanilla"),
        methods={"unlikelihood": MethodConfig("unlikelihood")},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="12z: data.fold: 12z: format people has no such fold"):
        pipeline.run(config)
    assert not any(tmp_path.iterdir())
