"""Runs repeated for folds and seeds: each is the run it would be alone, and the report is over all their items."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from support.miniature import recipe

from mmunlearner.config import DataConfig, EvaluateConfig, MethodConfig, ModelConfig, RunConfig, TrainConfig
from mmunlearner.core.files import read_json
from mmunlearner.core.recipes import load_config
from mmunlearner.data.benchmarks.people.folds import CHOOSING, FOLDS
from mmunlearner.data.load import FORMATS, Format
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate import quick_answers, read_columns
from mmunlearner.evaluate.scores import item_scores, mean_score
from mmunlearner.models.sources import ASSETS
from mmunlearner.report.results import load
from mmunlearner.run import run as pipeline
from mmunlearner.run import steps
from mmunlearner.run.checks import check
from mmunlearner.run.repeat import choosing_runs, repetitions
from mmunlearner.run.tuning import with_settings

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


def test_the_recipe_of_all_folds_reports_people_who_chose_nothing() -> None:
    config = load_config("people-folds")
    assert [part.model.oracle for part in repetitions(config)] == [f"oracles/{fold}" for fold in config.folds]
    assert config.choosing_folds == CHOOSING
    assert not set(config.folds) & set(CHOOSING)
    # Every method of the demo and more, each with as many trials, on all items.
    assert set(config.methods) > set(load_config("demo").methods)
    assert len({len(method.trials) for method in config.methods.values()}) == 1
    assert config.evaluate.limit == 0


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


# --- choosing folds -------------------------------------------------------------------------------------------------


@pytest.fixture
def with_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the miniature benchmark one that has folds."""
    mini = Format("support.miniature:load_for_folds", folds="support.miniature:FOLDS")
    monkeypatch.setitem(cast("Any", FORMATS), "mini", mini)


def choosing_recipe(folder: Path, **options: Any) -> RunConfig:
    """A recipe that tunes two methods on two folds and reports on a third; nothing is fine-tuned."""
    config = recipe(folder)
    model = replace(config.model, vanilla=config.model.base, oracle=f"{folder}/oracles/{{fold}}", base="")
    for fold in ("ab", "cd", "ac"):
        shutil.copytree(folder / "base", folder / "oracles" / fold, dirs_exist_ok=True)
    methods = {name: config.methods[name] for name in ("npo", "vision")} | {"untuned": MethodConfig("ga")}
    chosen = {"data": DataConfig("mini", root=str(folder)), "choosing_folds": ("ab", "cd"), "folds": ("ac",), **options}
    train = TrainConfig(steps=2, batch_size=3, retain_per_forget=1, save_every=1)
    return replace(config, model=model, methods=methods, train=train, **chosen)


def choice_of(config: RunConfig) -> dict[str, list[dict[str, Any]]]:
    """Return the recorded choice, without times."""
    choice = read_json(Path(config.out) / config.name / "choice.json")
    for record in (fold for trials in choice.values() for trial in trials for fold in trial["folds"].values()):
        del record["seconds"], record["peak_memory_bytes"]
    return choice


def scores_of(run: Path) -> dict[str, Any]:
    return {path.parent.name: read_json(path) for path in run.glob("evaluation/*/scores.json")}


@pytest.mark.slow
@pytest.mark.core
def test_one_fold_that_chooses_and_reports_is_a_run_tuned_by_hand(with_folds: None, tmp_path: Path):
    config = choosing_recipe(tmp_path, choosing_folds=("ab",), folds=("ab",), choosing_rule="distance")
    pipeline.run(config)
    choice, reported = choice_of(config), tmp_path / "runs" / "mini" / "ab"
    for number, trial in enumerate(choice["npo"]):
        by_hand = with_settings(config.methods["npo"], trial["settings"])
        alone = replace(
            config, name=f"npo{number}", methods={"npo": by_hand}, choosing_folds=(), folds=(),
            data=replace(config.data, fold="ab"), model=replace(config.model, oracle=str(tmp_path / "base")),
        )  # fmt: skip
        pipeline.run(alone)
        evaluated = scores_of(tmp_path / "runs" / alone.name)["npo"]
        accuracy = {column: scores["accuracy"]["value"] for column, scores in evaluated["columns"].items()}
        # All items judge, and further columns are recorded with them.
        assert trial["folds"]["ab"]["accuracy"] == pytest.approx(accuracy)
        if trial["chosen"]:
            assert scores_of(reported)["npo"] == evaluated
    for trials in choice.values():
        objectives = [trial["objective"] for trial in trials]
        assert [trial["chosen"] for trial in trials].index(True) == objectives.index(min(objectives))
    results = load(tmp_path / "runs" / "mini").results
    assert results.judged == frozenset()  # no item is left out of the scores
    vision = results.by_name["vision"]
    assert [trial["settings"] for trial in vision.trials] == list(config.methods["vision"].trials)
    assert vision.settings in [trial["settings"] for trial in vision.trials if trial.get("chosen")]
    assert results.by_name["untuned"].trials == ()
    text = (tmp_path / "runs" / "mini" / "report.md").read_text()
    assert "Judged on fold ab. Scores are of fold ab." in text
    assert not list((tmp_path / "runs" / "mini" / "choosing").rglob("model.safetensors"))


@pytest.mark.slow
@pytest.mark.core
def test_a_killed_choice_ends_like_an_uninterrupted_one(
    with_folds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, killed = choosing_recipe(tmp_path, seeds=(3, 4)), choosing_recipe(tmp_path, seeds=(3, 4), name="killed")
    pipeline.run(config)
    calls = count()

    def dies(*arguments: Any, **options: Any) -> Any:
        if next(calls) in (1, 4):  # in the first fold, and in the second
            raise KeyboardInterrupt
        return quick_answers(*arguments, **options)

    monkeypatch.setattr(steps, "quick_answers", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(killed)
    pipeline.run(killed)
    assert choice_of(killed) == choice_of(config)
    for part in ("ac-seed3", "ac-seed4"):
        whole, resumed = (scores_of(tmp_path / "runs" / name / part) for name in ("mini", "killed"))
        assert whole == resumed
    # The same folds in another order choose the same, and nothing is made again.
    monkeypatch.setattr(steps, "_train", None)
    pipeline.run(replace(config, choosing_folds=("cd", "ab")))
    assert choice_of(config) == choice_of(killed)


def test_choosing_folds_use_the_first_seed_and_the_methods_with_trials():
    tuned = MethodConfig("npo", trials=({"learning_rate": 1e-3},))
    config = RunConfig(
        name="x", out="o", choosing_folds=("a", "b"), folds=("c",), seeds=(4, 5),
        model=ModelConfig(vanilla="v", oracle="folds/{fold}"), methods={"npo": tuned, "ga": MethodConfig("ga")},
    )  # fmt: skip
    recipes = choosing_runs(config)
    assert [(r.name, r.out, r.seed, r.model.oracle) for r in recipes] == [
        ("a", "o/x/choosing", 4, "folds/a"), ("b", "o/x/choosing", 4, "folds/b"),
    ]  # fmt: skip
    assert all(r.only_chooses and set(r.methods) == {"npo"} for r in recipes)
    reported = repetitions(config, {"npo": [{"settings": {"learning_rate": 1e-3}, "objective": 0.0, "chosen": True}]})
    assert [r.name for r in reported] == ["c-seed4", "c-seed5"]
    assert not any(r.only_chooses or r.methods["npo"].trials for r in reported)
    assert reported[0].methods["npo"].train == {"learning_rate": 1e-3}


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
        ({"choosing_folds": ("a", "a"), "folds": ("b",)}, "choosing_folds a, a: one is named twice"),
        (
            {"choosing_folds": ("a",), "folds": ("b",), "model": ModelConfig(vanilla="v", oracle="one")},
            "model.oracle one: each fold has an oracle",
        ),
        ({"choosing_folds": ("a",), "folds": ("b",)}, "choosing_folds: no method has trials"),
        ({"choosing_folds": ("a",)}, "choosing_folds a: no fold is left for the report"),
    ],
)
def test_wrong_repetitions_are_refused(change: dict[str, Any], message: str):
    config = replace(RunConfig(model=ModelConfig(vanilla="v")), **change)
    with pytest.raises(ConfigError, match=message):
        _ = repetitions(check(config)) + choosing_runs(config)


@pytest.mark.slow
def test_a_mistake_in_the_last_fold_is_found_before_the_first_begins(tmp_path: Path):
    config = RunConfig(
        out=str(tmp_path), folds=("4", "12z"), data=DataConfig("people"), model=ModelConfig(vanilla="people:vanilla"),
        methods={"unlikelihood": MethodConfig("unlikelihood")},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="12z: data.fold: 12z: format people has no such fold"):
        pipeline.run(config)
    assert not any(tmp_path.iterdir())
