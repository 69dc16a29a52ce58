"""Early stopping in runs and in the single command; no score includes the items that decide it."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from support.miniature import recipe
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import cli, models
from mmunlearner.config import RunConfig, TrainConfig
from mmunlearner.core.files import read_json, read_jsonl
from mmunlearner.data.benchmarks import rows
from mmunlearner.errors import ConfigError
from mmunlearner.run import run as pipeline


def stopping(folder: Path, trials: int) -> RunConfig:
    """One method with the base model, which knows nothing, as vanilla model and as oracle."""
    config = recipe(folder, trials=trials)
    model = replace(config.model, vanilla=config.model.base, oracle=config.model.base, base="")
    train = TrainConfig(steps=4, batch_size=3, retain_per_forget=2, stop_every=2)
    return replace(config, train=train, model=model, methods={"npo": config.methods["npo"]})


@pytest.mark.parametrize("trials", [0, 2])
def test_early_stopping_uses_only_the_validation_half(tmp_path: Path, trials: int) -> None:
    config = stopping(tmp_path, trials)
    page = pipeline.run(config)
    run = page.parent
    record, results = read_json(run / "models" / "npo" / "train.json"), read_json(run / "results.json")
    look = record["look"]
    assert (look["source"], look["of"], look["step"]) == ("oracle", 4, 2)
    assert record["steps"] == (2 if look["reached"] else 4)
    judged = set(results["judged"])
    for column in ("forget_vqa", "forget_vqa_test"):
        lines = [
            line for line in read_jsonl(run / "evaluation" / "npo" / f"{column}.jsonl") if line["id"] not in judged
        ]
        (model,) = [model for model in results["models"] if model["name"] == "npo"]
        assert model["scores"][column]["accuracy"]["n"] == len(lines)
        assert {line["entity"] for line in lines} < {"ann", "ben"}
    card = (run / "models" / "npo" / "README.md").read_text()
    assert ("stopped at step 2 of 4" if look["reached"] else "not stopped in 4 steps") in card
    assert "on the validation half, forget VQA" in card


def test_the_single_command_stops_at_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    models.save(llava(VOCABULARY), tmp_path / "vanilla")
    items = [*examples(4, 1), *examples(4, 1, images=False)]
    rows.write(
        tmp_path / "data",
        [rows.as_row(replace(e, id=f"{split}/{e.id}"), split) for split in ("train", "eval") for e in items],
    )
    command = ["unlearn", "--model", "vanilla", "--out", "out", "--method", "ga_diff", "--train.stop_every", "1"]
    data = ["--data.format", "rows", "--data.root", "data", "--data.forget_entities", "ann"]
    budget = ["--train.steps", "3", "--train.batch_size", "2", "--train.retain_per_forget", "1", "--device", "cpu"]
    with contextlib.chdir(tmp_path), pytest.raises(SystemExit) as alone:
        cli.main([*command, *data, *budget])
    assert alone.value.code == 2
    assert "forget: ann cannot be halved to tune and to test; leave out trials and train.stop_every" in (
        capsys.readouterr().err.replace("\n", " ")
    )
    with contextlib.chdir(tmp_path), pytest.raises(SystemExit) as ended:
        cli.main([*command, *data, "--data.forget_entities", "ben", *budget])
    assert not ended.value.code
    look = read_json(tmp_path / "out" / "train.json")["look"]
    assert look["source"] == "chance"
    assert 0 < look["level"]["forget VQA"] < 1
    assert f"training {'stopped at step' if look['reached'] else 'not stopped in 3 steps'}" in capsys.readouterr().out
    with contextlib.chdir(tmp_path), caplog.at_level(logging.WARNING), pytest.raises(SystemExit):
        cli.main(["evaluate", "--model", "out", "--out", "scores", *data, "--data.forget_entities", "ben"])
    assert "out: half of the forget entities decided when training ended; these scores include them" in caplog.messages


def test_fine_tuning_has_nothing_to_stop_at(tmp_path: Path) -> None:
    config = stopping(tmp_path, 0)
    with pytest.raises(ConfigError, match="finetune.stop_every is 2: fine-tuning forgets nothing; set it to 0"):
        pipeline.run(replace(config, finetune=config.train))
