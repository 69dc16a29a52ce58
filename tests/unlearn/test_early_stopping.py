"""Stopping at the oracle's level: never reached is as if nobody had looked, and a stop is found again after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.progress import interrupt_at
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import EvaluateConfig, LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate import quick_scores
from mmunlearner.unlearn import StopTarget, Trained, make_adapter, unlearn

IMAGES = examples()
FORGET = tuple(e for e in IMAGES if e.entity == "ann")
SPLITS = Splits(FORGET, tuple(e for e in IMAGES if e.entity != "ann"), tuple(examples(images=False)), {})
TRAIN = TrainConfig(steps=6, retain_per_forget=2, batch_size=4, learning_rate=1e-3, stop_every=2, save_every=3)
NEVER, AT_ONCE = -1.0, 1.0


def level(aim: float) -> StopTarget:
    """Reached where the forget set is answered no better than this."""
    groups = {"forget VQA": ("forget_vqa", "forget_vqa_test")}
    return StopTarget({"forget_vqa": FORGET}, {"forget_vqa": aim}, groups, "oracle", EvaluateConfig(max_new_tokens=2))


def vanilla(dropout: float = 0.0):
    loaded = llava(VOCABULARY)
    for module in loaded.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = dropout
    return loaded


def run(
    work: Path, train: TrainConfig = TRAIN, method: str = "ga_diff", dropout: float = 0.0, **options: Any
) -> Trained:
    return unlearn(vanilla(dropout), SPLITS, MethodConfig(method), train, work, **options)


def log(work: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def alike(one: Trained, other: Trained) -> bool:
    pairs = zip(one.loaded.model.parameters(), other.loaded.model.parameters(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize("lora", [0, 2])
def test_a_level_that_is_never_reached_changes_nothing(tmp_path, lora):
    """Bit for bit, dropout included: looking draws no random number, and leaves the model in train mode."""
    adapter = make_adapter(LoraConfig(rank=lora))
    plain = run(tmp_path / "plain", replace(TRAIN, stop_every=0), dropout=0.3, adapter=adapter)
    looked = run(tmp_path / "looked", dropout=0.3, adapter=adapter, stop_target=level(NEVER))
    assert alike(plain, looked)
    assert plain.stop_check is None
    assert (looked.steps, looked.stop_check["step"], looked.stop_check["of"]) == (12, 8, 12)
    lines = log(tmp_path / "looked")
    assert [line["step"] for line in lines if line.pop("look", None)] == [4, 8]  # the last step is over anyway
    assert lines == log(tmp_path / "plain")


@pytest.mark.parametrize("lora", [0, 2])
def test_training_ends_where_the_level_is_reached(tmp_path, lora):
    """With the weights that a run without looks has after that step: the rate follows the planned length."""
    adapter = make_adapter(LoraConfig(rank=lora))
    mask = saliency.compute(Encoder(vanilla()), SPLITS, MaskConfig(parts=("language",)))
    stopped = run(
        tmp_path / "stopped",
        method="mmunlearner",
        mask=mask,
        adapter=adapter,
        stop_target=level(AT_ONCE),
    )
    assert stopped.steps == 4
    assert stopped.stop_check["reached"]
    assert stopped.stop_check["level"] == {"forget VQA": AT_ONCE}
    asked = quick_scores(stopped.loaded, {"forget_vqa": FORGET}, config=EvaluateConfig(max_new_tokens=2))
    assert stopped.stop_check["accuracy"] == {"forget VQA": asked["forget_vqa"].value}
    whole = run(tmp_path / "whole", replace(TRAIN, stop_every=0), "mmunlearner", mask=mask, adapter=adapter)
    assert not alike(stopped, whole)
    assert [line["learning_rate"] for line in log(tmp_path / "stopped")] == [
        line["learning_rate"] for line in log(tmp_path / "whole")[:4]
    ]


@pytest.mark.parametrize("killed_at", [2, 4])
def test_a_killed_run_stops_where_an_uninterrupted_one_does(tmp_path, killed_at):
    """Also where the step at which training stops would have been a checkpoint, and the kill comes right after it."""
    train = replace(TRAIN, save_every=2)
    whole = run(tmp_path / "whole", train, stop_target=level(AT_ONCE))

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", train, stop_target=level(AT_ONCE), progress=interrupt_at(killed_at))
    assert not (tmp_path / "cut" / "checkpoint-4").exists()
    resumed = run(tmp_path / "cut", train, stop_target=level(AT_ONCE))
    again = run(tmp_path / "cut", train, stop_target=level(AT_ONCE))  # killed after training, before it was done
    assert alike(whole, resumed)
    assert alike(whole, again)
    assert whole.stop_check == resumed.stop_check == again.stop_check
    assert log(tmp_path / "cut") == log(tmp_path / "whole")


def test_every_group_must_have_come_down() -> None:
    """Goal `full`: by sight and in words; the columns of a group count as their mean."""
    groups = {"forget VQA": ("a", "b"), "forget QA": ("c",)}
    items = {"a": FORGET, "b": FORGET, "c": FORGET}
    for floor, reached in (({"a": 2.0, "b": 0.0, "c": 1.0}, True), ({"a": 1.0, "b": 1.0, "c": -1.0}, False)):
        look = StopTarget(items, floor, groups, "chance", EvaluateConfig(max_new_tokens=2)).check(vanilla())
        assert look.reached == reached
        assert set(look.level) == set(groups)


def test_stopping_without_a_level_or_items_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="train.stop_every is 2, but no level"):
        run(tmp_path)
    with pytest.raises(ConfigError, match="train.stop_every: nothing to look at, since the data have none of a, b"):
        StopTarget({"a": ()}, {}, {"x": ("a", "b")}, "chance", EvaluateConfig())
