"""Forecasts of recipes: counts, steps, memory and time, without weights."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support import layouts
from support.miniature import recipe
from support.tiny import VOCABULARY, llava

from mmunlearner import cli, models
from mmunlearner.config import LoraConfig, MethodConfig, RunConfig, TrainConfig
from mmunlearner.core.files import read_json
from mmunlearner.core.progress import Progress
from mmunlearner.core.recipes import load_config, shipped_recipes
from mmunlearner.errors import ConfigError
from mmunlearner.run.forecast import Forecast, Speed, forecast, measured_speed
from mmunlearner.run.plan import needed, plan
from mmunlearner.run.run_dir import open_run, record_config
from mmunlearner.run.workers import execute

SPEED = 1e12
PUBLISHED = sorted(name for name in shipped_recipes() if name.startswith(("mllmu-", "clear-")))
METHODS = [
    "ga", "ga_diff", "kl_min", "npo", "mmunlearner_language", "mmunlearner_vision", "mmunlearner_both",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder without its weights."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    models.save(llava(VOCABULARY), folder)
    (folder / "model.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLLMU-Bench and CLEAR in small, with every share that the recipes name."""
    root = tmp_path_factory.mktemp("benchmarks")
    for share in (5, 10, 15):
        layouts.mllmu(root / "mllmu", share=share)
    for share in (1, 5, 10):
        layouts.write_clear(root / "clear", f"forget{share:02d}", [layouts.picture_of(0)])
        layouts.write_clear(root / "clear", f"retain{100 - share}", [layouts.picture_of(n) for n in (1, 2, 3)])
        layouts.write_clear(root / "clear", f"forget{share:02d}_perturbed", [layouts.perturbed_picture(0)])
    layouts.write_clear(root / "clear", "full+tofu", layouts.mixed([0, 1, 2, 3]))
    return root


def test_there_is_a_recipe_for_each_model_benchmark_and_share() -> None:
    models_ = ("llava-1.5-7b", "qwen2-vl-7b")
    shares = [("mllmu", share) for share in (5, 10, 15)] + [("clear", share) for share in (1, 5, 10)]
    assert set(PUBLISHED) == {f"{name}-{share}-{model}" for name, share in shares for model in models_}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_experiment_matches_its_name(name: str) -> None:
    config = load_config(name)
    benchmark, share, model = name.split("-", 2)
    assert config.name == name
    assert (config.data.format, str(config.data.forget)) == (benchmark, share)
    assert model in config.model.base.lower()
    assert (config.model.vanilla, config.model.oracle) == ("", "")  # the recipe makes both
    assert list(config.methods) == METHODS
    assert (config.train.learning_rate, config.train.batch_size * config.train.questions) == (1e-5, 4)
    rank = 8 if (benchmark, model[:5]) == ("mllmu", "llava") else 16
    assert (config.finetune_lora, config.model.lora.rank) == (LoraConfig(rank=rank, alpha=16), 0)
    assert (config.finetune.schedule, config.train.schedule) == ("linear", "constant")
    assert [m.mask.parts for m in config.methods.values() if m.mask] == [
        ("language",), ("vision", "projector"), ("vision", "projector", "language"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_budgets_are_one_epoch_of_the_published_sets(name: str) -> None:
    """8,204 questions over 500 people; 3,768 captions, of these 35, 188 or 379 to forget."""
    config = load_config(name)
    share = config.data.forget
    forget = 8204 * share / 100 if config.data.format == "mllmu" else {1: 35, 5: 188, 10: 379}[share]
    questions = 8204 if config.data.format == "mllmu" else 3768
    assert 4 * config.train.steps == pytest.approx(forget, abs=4)
    assert config.train.retain_per_forget == int((questions - forget) / forget)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_experiment_is_estimated_without_weights(name: str, model: Path, benchmarks: Path) -> None:
    config = load_config(name)
    data = replace(config.data, root=str(benchmarks / config.data.format))
    estimate = forecast(replace(config, data=data, model=replace(config.model, base=str(model))), speed=SPEED)
    assert estimate.unknown == ()
    steps = {step.name: step for step in estimate.steps}
    assert set(steps) == {
        "finetune vanilla", "finetune oracle", "measure retain-question-2000", "measure forget-question-2000",
        "measure text-question-2000", "masks", *(f"unlearn {name}" for name in METHODS),
        *(f"evaluate {name}" for name in ("vanilla", "oracle", *METHODS)),
    }  # fmt: skip
    ratios = [(steps[f"unlearn {name}"].steps or 0) / config.train.steps for name in METHODS]
    assert ratios == [1] * 4 + [config.train.retain_per_forget] * 3
    assert all(step.operations for step in estimate.steps)
    assert all(step.tokens for name, step in steps.items() if name != "masks")
    assert all(step.memory for name, step in steps.items() if not name.startswith(("evaluate", "masks")))
    counts = {count.name: count for count in estimate.sets}
    assert counts["forget"].entities == 1
    assert counts["retain"].entities == 3
    assert 0 < (estimate.seconds or 0) < 3600


@pytest.mark.parametrize("tokens", [0, 50])
def test_tokens_and_steps_are_those_of_the_run(tmp_path: Path, tokens: int) -> None:
    """Of a plan as short as this one every step is counted, so that both agree to the token."""
    config = recipe(tmp_path, trials=0)
    train = TrainConfig(steps=1, batch_size=3, retain_per_forget=2, tokens_per_batch=tokens)
    methods = {name: config.methods[name] for name in ("npo", "vision")} | {"diff": MethodConfig("ga_diff")}
    methods["anchor"] = replace(methods["vision"], options={"anchor": 1.0, "retain_weight": 0.0})
    model = replace(config.model, vanilla=config.model.base, base="")
    config = replace(config, train=train, methods=methods, model=model)
    costs = {step.name: step for step in forecast(config, speed=SPEED).steps}
    with open_run(config) as run:
        record_config(run)
    execute(run, needed(plan(run), *(f"unlearn {name}" for name in methods)), 1, Progress())
    for name in methods:
        trained = read_json(run.trained(name))
        assert (costs[f"unlearn {name}"].steps, costs[f"unlearn {name}"].tokens) == (
            trained["steps"], trained["tokens"]
        )  # fmt: skip
    units = read_json(run.mask("vision-projector").with_suffix(".json"))["units"]
    passes = {name: step.steps for name, step in costs.items() if name.startswith("measure")}
    assert passes == {f"measure {data}-image-512": units[data] for data in ("retain", "forget")}


def test_smaller_passes_take_less_memory(model: Path, benchmarks: Path) -> None:
    overrides = {"model.base": str(model), "data.root": str(benchmarks / "clear")}
    overrides |= {"train.batch_size": "8", "methods.ga_diff.train.tokens_per_batch": "40"}
    costs = {s.name: s for s in forecast(load_config("clear-10-llava-1.5-7b", overrides), speed=SPEED).steps}
    small, large = costs["unlearn ga_diff"].memory, costs["unlearn kl_min"].memory
    assert small is not None
    assert large is not None
    assert small.activations < 0.8 * large.activations
    assert replace(small, activations=0) == replace(large, activations=0)


def test_missing_inputs_are_named_and_the_rest_is_estimated(
    tmp_path: Path, benchmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither hub nor data; then a configuration without a processor."""
    estimate = forecast(load_config("mllmu-5-llava-1.5-7b"), speed=SPEED)
    assert [reason.split(":")[0] for reason in estimate.unknown] == ["data", "memory and time"]
    steps = {step.name: step.steps for step in estimate.steps}
    assert [steps[f"unlearn {name}"] for name in METHODS] == [103, 103, 103, 103, 1957, 1957, 1957]
    assert (estimate.sets, estimate.seconds) == ((), None)
    assert {steps[name] for name in steps if name.startswith(("measure", "evaluate"))} == {None}
    llava(VOCABULARY).model.config.save_pretrained(tmp_path)
    overrides = {"model.base": str(tmp_path), "data.root": str(benchmarks / "mllmu")}
    half = forecast(load_config("mllmu-5-llava-1.5-7b", overrides), speed=SPEED)
    assert [reason.split(":")[0] for reason in half.unknown] == ["tokens, activations and time"]
    assert half.steps[0].memory is not None
    assert half.steps[0].tokens is None
    assert [s.questions for s in half.sets if s.name == "forget"] == [3]


def test_fine_tuning_by_adapters_takes_less_memory(model: Path, benchmarks: Path) -> None:
    config = load_config("clear-5-llava-1.5-7b")
    data = replace(config.data, root=str(benchmarks / "clear"))
    config = replace(config, data=data, model=replace(config.model, base=str(model)))
    full = replace(config, finetune=replace(config.finetune, lora=LoraConfig()))
    adapted, full_tuning = (
        {s.name: s.memory for s in forecast(recipe, speed=SPEED).steps} for recipe in (config, full)
    )
    assert adapted["finetune vanilla"].optimizer < full_tuning["finetune vanilla"].optimizer
    assert adapted["unlearn ga"] == full_tuning["unlearn ga"]


def test_wrong_options_are_errors_as_in_a_run() -> None:
    method = MethodConfig("npo", options={"bta": 1.0})
    config = load_config("mllmu-5-llava-1.5-7b")
    with pytest.raises(ConfigError, match="methods.npo: method npo: unknown option bta; did you mean beta"):
        forecast(replace(config, methods={"npo": method}), speed=SPEED)
    with pytest.raises(ConfigError, match="model.vanilla: no model to unlearn"):
        forecast(RunConfig(), speed=SPEED)


def test_the_command_prints_and_writes_no_file(
    tmp_path: Path, model: Path, benchmarks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--model.base", str(model), "--data.root", str(benchmarks / "clear"), "--flops", "1e12"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "clear-5-qwen2-vl-7b", "--dry-run", *flags])
    assert not ended.value.code
    assert os.listdir(tmp_path) == []
    output = capsys.readouterr().out
    assert all(
        words in output
        for words in ("finetune oracle", "mmunlearner_both", "\nmasks ", "that --flops names (1e+12 FLOP/s)")
    )
    assert "of the evaluated image questions are in the forget or retain set" in output


def test_speed_is_measured_where_none_is_declared() -> None:
    assert 1e7 < measured_speed("cpu", "float32").operations < 1e15


def test_a_speed_that_others_disturb_is_said(model: Path, benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = {"model.base": str(model), "data.root": str(benchmarks / "clear")}
    said = []
    for share in (1.0, 0.3):
        monkeypatch.setattr("mmunlearner.run.forecast.measured_speed", lambda *_, share=share: Speed(1e9, share))
        said.append(forecast(load_config("clear-1-llava-1.5-7b", overrides)).speed_source)
    assert "left it" not in said[0]
    assert "other programs, which left it 30% of its cores" in said[1]


def test_time_is_operations_by_speed(model: Path, benchmarks: Path) -> None:
    overrides = {"model.base": str(model), "data.root": str(benchmarks / "clear")}
    slow, fast = (forecast(load_config("clear-1-llava-1.5-7b", overrides), speed=s) for s in (1e9, 2e9))
    assert isinstance(slow, Forecast)
    assert slow.seconds == pytest.approx(2 * (fast.seconds or 0))
