"""Fine-tuning in stages: what each trains, and runs that are interrupted between and within them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.miniature import recipe
from support.progress import Listener

from mmunlearner.config import RunConfig
from mmunlearner.core.files import read_json, read_jsonl
from mmunlearner.core.progress import Progress
from mmunlearner.core.recipes import build, plain
from mmunlearner.errors import ConfigError
from mmunlearner.models import load, outside_layers, parts
from mmunlearner.run import steps
from mmunlearner.run.checks import check
from mmunlearner.run.forecast import forecast
from mmunlearner.run.run_dir import RunDir
from mmunlearner.run.stages import stages
from mmunlearner.run.steps import finetune

WORDS = {"data": "texts", "parts": "language", "layers": {"language": "last 1"}, "steps": 3}
IMAGES = {"data": "images", "parts": ["vision", "projector"], "steps": 4, "learning_rate": 2e-3}


def staged(folder: Path, *options: object) -> RunConfig:
    config = recipe(folder, trials=0)
    train = {**plain(config.finetune), "save_every": 1, "batch_size": 3, "optimizer": "adamw", "learning_rate": 1e-3}
    return replace(config, finetune=build(type(config.finetune), {**train, "stages": list(options)}))


def run_in(folder: Path, *options: object) -> RunDir:
    config = staged(folder, *options)
    return RunDir(folder / "run", check(config))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return dict(load(path).model.named_parameters())


def test_each_stage_trains_its_part_on_its_data(tmp_path: Path) -> None:
    run = run_in(tmp_path, WORDS, IMAGES)
    planned = stages(run.config.finetune)
    assert [{bool(e.images) for e in stage.examples(run.splits.vanilla_training)} for stage in planned] == [
        {False}, {True},
    ]  # fmt: skip
    finetune(run, "vanilla", Progress())
    before, after = weights(tmp_path / "base"), weights(run.model("vanilla"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    model = load(tmp_path / "base").model
    assert not moved & outside_layers(model, {"language": "last 1"})
    assert all(moved & set(names) for names in parts(model).values())
    record, log = read_json(run.trained("vanilla")), read_jsonl(run.log("vanilla"))
    assert [(line["step"], line["stage"]) for line in log] == [(k, 1 if k < 4 else 2) for k in range(1, 8)]
    assert (record["steps"], record["tokens"]) == (7, sum(line["tokens"] for line in log))
    assert record["moved"]["inside"] == sum(int((before[name] != after[name]).sum()) for name in before)
    assert not run.work("vanilla").exists()


def test_stages_are_those_trainings_one_after_the_other(tmp_path: Path) -> None:
    """A stage equals a fine-tuning of its own from the model of the stage before."""
    run = run_in(tmp_path, {"steps": 2}, {"steps": 2, "data": "images"})
    finetune(run, "vanilla", Progress())
    alone = run_in(tmp_path)
    alone = RunDir(tmp_path / "first", replace(alone.config, finetune=replace(alone.config.finetune, steps=2)))
    finetune(alone, "vanilla", Progress())
    second = replace(alone.config, model=replace(alone.config.model, base=str(alone.model("vanilla"))))
    options = build(type(second.finetune), {**plain(second.finetune), "stages": [{"data": "images"}]})
    last = RunDir(tmp_path / "second", replace(second, finetune=options))
    finetune(last, "vanilla", Progress())
    left, right = weights(run.model("vanilla")), weights(last.model("vanilla"))
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("moment", [2, 3, 5])
def test_interrupted_stages_end_as_uninterrupted_ones(tmp_path: Path, monkeypatch, moment: int) -> None:
    """Within the first stage, at the end of it, within the second."""
    run = run_in(tmp_path, WORDS, IMAGES)
    finetune(run, "vanilla", Progress())
    cut, ticks = RunDir(tmp_path / "cut", run.config), iter(range(1, 100))

    def stop(*_: object) -> None:
        if next(ticks) == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(cut, "vanilla", Listener(stop))
    loads: list[str] = []
    monkeypatch.setattr(
        steps,
        "load_model",
        lambda run, source, *a, _load=steps.load_model, **k: loads.append(source) or _load(run, source, *a, **k),
    )
    finetune(cut, "vanilla", Progress())
    assert any("stage-1" in source for source in loads)
    assert any("base" in source for source in loads) == (moment <= 3)
    assert (run.model("vanilla") / "model.safetensors").read_bytes() == (
        cut.model("vanilla") / "model.safetensors"
    ).read_bytes()
    timeless = [[{**line, "seconds": 0} for line in read_jsonl(part.log("vanilla"))] for part in (run, cut)]
    assert timeless[0] == timeless[1]


def test_the_forecast_counts_all_stages(tmp_path: Path) -> None:
    cost = {step.name: step for step in forecast(staged(tmp_path, WORDS, IMAGES), speed=1e9).steps}["finetune vanilla"]
    one = {step.name: step for step in forecast(staged(tmp_path, IMAGES), speed=1e9).steps}["finetune vanilla"]
    assert (cost.steps, one.steps) == (7, 4)
    assert cost.operations > one.operations > 0
    assert cost.memory.total >= one.memory.total


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        ({"steps": "many"}, r"stages\[0\].steps: expected a whole number"),
        ({"date": "texts"}, r"stages\[0\].date: unknown option; did you mean data"),
        (
            {"parts": "vision", "layers": {"language": "last 1"}},
            r"finetune.stages\[0\]: train.layers.language: this part",
        ),
        ({"stop_every": 1}, r"finetune.stages\[0\].stop_every is 1: fine-tuning forgets nothing"),
    ],
)
def test_a_wrong_stage_is_named(tmp_path: Path, stage: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        check(staged(tmp_path, stage))
