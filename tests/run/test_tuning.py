"""Choice of settings: the grid, and the half of the entities that decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.miniature import recipe

from mmunlearner import cli
from mmunlearner.config import MaskConfig, MethodConfig, RunConfig, TrainConfig
from mmunlearner.core.files import read_json, write_json
from mmunlearner.core.recipes import load_config, to_yaml
from mmunlearner.errors import ConfigError
from mmunlearner.methods import Method
from mmunlearner.run.choice import best
from mmunlearner.run.tuning import objective, sweep, with_settings

METHODS = {"npo": MethodConfig("npo"), "mine": MethodConfig(mask=MaskConfig(), trials=({"bound": 1.0},))}


def test_every_method_is_tried_with_all_combinations_of_its_options() -> None:
    grid = {"learning_rate": (1e-5, 3e-5), "bound": (2.0, 3.0)}
    config = sweep(RunConfig(name="r", methods=METHODS, grid=grid))
    assert config.methods["npo"].trials == ({"learning_rate": 1e-5}, {"learning_rate": 3e-5})
    assert config.methods["mine"].trials == (
        {"learning_rate": 1e-5, "bound": 2.0}, {"learning_rate": 1e-5, "bound": 3.0},
        {"learning_rate": 3e-5, "bound": 2.0}, {"learning_rate": 3e-5, "bound": 3.0},
    )  # fmt: skip
    assert (config.name, config.grid) == ("r-sweep", {})


def test_a_method_without_any_option_of_the_grid_is_not_tuned() -> None:
    assert sweep(RunConfig(methods=METHODS, grid={"bound": (1.0,)})).methods["npo"].trials == ()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, "grid: nothing to try; name options and values"),
        ({"learning_rat": (1.0,)}, "grid.learning_rat: no method .*did you mean learning_rate"),
        ({"optimizer": (1.0,)}, "grid.optimizer: no method of the recipe has this option"),
        ({"bound": ()}, "grid.bound: no value to try"),
    ],
)
def test_a_grid_that_tries_nothing_is_an_error(grid: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep(RunConfig(methods=METHODS, grid=grid))


def test_the_grid_is_read_from_recipe_and_flags(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("grid: {bound: [2, 3]}\nmethods: {a: {mask: {}}}")
    config = load_config(path, {"grid.learning_rate": "1e-5,3e-5"})
    assert config.grid == {"bound": (2.0, 3.0), "learning_rate": (1e-5, 3e-5)}


def test_settings_go_to_training_or_to_the_method_and_keep_their_kind() -> None:
    tried = with_settings(METHODS["mine"], {"learning_rate": 0.1, "steps": 5.0, "bound": 2.0})
    assert (tried.train, tried.options, tried.trials) == ({"learning_rate": 0.1, "steps": 5}, {"bound": 2.0}, ())
    assert isinstance(tried.train["steps"], int)


def steps_loss(answers: object, reference: object, *, steps: float = 1.0) -> object: ...


AMBIGUOUS = Method("own", forget=steps_loss, retain=None, paper="")  # pyright: ignore[reportArgumentType]
"""A method with an option that training has, too."""


def test_a_name_of_both_training_and_the_method_needs_a_prefix() -> None:
    method = MethodConfig(f"{__name__}:AMBIGUOUS")
    with pytest.raises(
        ConfigError, match=r"steps is an option of training and of method .*; write train.steps or opti"
    ):
        with_settings(method, {"steps": 3})
    trial = with_settings(method, {"train.steps": 3, "options.steps": 4})
    assert (trial.train, trial.options) == ({"steps": 3}, {"steps": 4})
    with pytest.raises(ConfigError, match=r"train\.optimizer is no number of training"):
        with_settings(method, {"train.optimizer": 3})
    with pytest.raises(ConfigError, match=r"trian\.steps is neither train\.NAME nor options\.NAME"):
        with_settings(method, {"trian.steps": 3})


def test_trials_are_read_flat_or_by_group(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "methods: {a: {trials: [{learning_rate: 1e-4, bound: 2}, {train: {steps: 3}, options: {bound: 1}}]}}"
    )
    flat, grouped = load_config(path).methods["a"].trials
    assert flat == {"learning_rate": 1e-4, "bound": 2.0}
    assert grouped == {"train.steps": 3.0, "options.bound": 1.0}
    path.write_text("methods: {a: {trials: [{train: {steps: many}}]}}")
    with pytest.raises(ConfigError, match=r"methods.a.trials\[0\].train.steps: expected a number, found 'many'"):
        load_config(path)


def test_the_objective_adds_missed_forgetting_and_losses() -> None:
    vanilla, floor = {"forget_vqa": 1.0, "retain_vqa": 1.0}, {"forget_vqa": 0.25, "retain_vqa": 1.0}
    assert objective({"forget_vqa": 0.25, "retain_vqa": 1.0}, vanilla, floor, "visual") == 0
    assert objective({"forget_vqa": 0.75, "retain_vqa": 0.9}, vanilla, floor, "visual") == pytest.approx(0.6)
    # forgotten beyond the oracle is no better, and neighbours have no say
    assert objective({"forget_vqa": 0.0, "neighbour_vqa": 0.0}, vanilla, floor, "visual") == pytest.approx(0.25)


def test_a_sweep_chooses_on_one_half_and_scores_on_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = recipe(tmp_path, trials=0)
    train = TrainConfig(steps=2, batch_size=3, retain_per_forget=1)
    methods = {"npo": config.methods["npo"], "vision": config.methods["vision"]}
    model = replace(config.model, vanilla=config.model.base, oracle=config.model.base, base="")
    path = tmp_path / "mini.yaml"
    path.write_text(to_yaml(replace(config, train=train, methods=methods, model=model)))
    with pytest.raises(SystemExit) as ended:
        cli.main(["sweep", str(path), "--grid.learning_rate", "1e-3,1e-2", "--grid.bound", "3"])
    assert not ended.value.code
    run = tmp_path / "runs" / "mini-sweep"
    results = read_json(run / "results.json")
    judged = set(results["judged"])
    counts = {column["name"]: column["n"] for column in results["columns"]}
    for name in ("npo", "vision"):
        record = read_json(run / "models" / name / "train.json")
        tried = record["tuning"]["trials"]
        assert len(tried) == 2
        assert record["settings"] == tried[best(tried, "distortion")]["settings"]
        assert [trial["settings"] for trial in tried if trial["chosen"]] == [record["settings"]]
        assert set(tried[0]["accuracy"]) <= {"forget_vqa", "forget_vqa_test", "forget_qa", "retain_vqa", "retain_qa"}
        lines = (run / "evaluation" / name / "forget_vqa.jsonl").read_text().splitlines()
        assert 0 < counts["forget_vqa"] < len(lines)
        assert counts["forget_vqa"] == len(lines) - sum(any(f'"id": "{i}"' in line for i in judged) for line in lines)
    output = capsys.readouterr().out
    assert "learning_rate 0.001, bound 3" in output
    assert "chosen" in output
    general = {"pope": {"pope_accuracy": {"value": 0.5, "stderr": 0.0, "n": 3}}}
    write_json(run / "evaluation" / "npo" / "lmms.json", {"inputs": {}, "asked": ["pope"], "columns": general})
    with pytest.raises(SystemExit):
        cli.main(["sweep", str(path), "--grid.learning_rate", "1e-3,1e-2", "--grid.bound", "3"])
    models = {model["name"]: model["lmms"] for model in read_json(run / "results.json")["models"]}
    assert models == {"vanilla": {}, "oracle": {}, "npo": general, "vision": {}}
