"""Features of a frozen vision tower that are kept are those that it would make again."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.progress import interrupt_at
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.methods import Method, Needs
from mmunlearner.unlearn import Job, Trained, make_adapter, run_job, unlearn

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
TRAIN = TrainConfig(steps=4, retain_per_forget=2, batch_size=4, learning_rate=1e-3, keep_text=True, save_every=3)
KEEP = replace(TRAIN, keep_features=1.0)
PATCHES, WIDTH = 4, 32


def vanilla(dropout: float = 0.0):
    loaded = llava(VOCABULARY)
    for layer in loaded.model.model.vision_tower.encoder.layers:
        layer.self_attn.dropout = dropout
    return loaded


def run(work: Path, train: TrainConfig, *, dropout: float = 0.0, parts=("language",), **options: Any) -> Trained:
    mask = saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=parts))
    return unlearn(vanilla(dropout), SPLITS, MethodConfig("mmunlearner"), train, work, mask=mask, **options)


def log(work: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the vision tower is shown in each call while a model trains."""
    calls: list[int] = []
    tower = type(llava(VOCABULARY).model.model.vision_tower)
    forward = tower.forward

    def counted(self: Any, pixel_values: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            calls.append(len(pixel_values))
        return forward(self, pixel_values, *args, **kwargs)

    monkeypatch.setattr(tower, "forward", counted)
    return calls


@pytest.mark.parametrize("rank", [0, 2])
def test_a_run_with_kept_features_goes_as_without(tmp_path, seen, rank):
    """Every image is shown to the tower once; the first batch is computed the plain way, too."""
    plain = run(tmp_path / "plain", TRAIN, adapter=make_adapter(LoraConfig(rank=rank)))
    shown = len(seen), sum(seen)
    seen.clear()
    kept = run(tmp_path / "kept", KEEP, adapter=make_adapter(LoraConfig(rank=rank)))
    images = {e.image.key for e in IMAGES if e.image}
    assert seen.count(1) <= len(images) + 1
    assert len([calls for calls in seen if calls > 1]) <= 1
    assert sum(seen) < 0.5 * shown[1]
    for one, other in zip(log(tmp_path / "plain"), log(tmp_path / "kept"), strict=True):
        for key in ("forget", "retain", "grad_norm"):
            assert other[key] == (None if one[key] is None else pytest.approx(one[key], rel=1e-4))
    for left, right in zip(plain.loaded.model.parameters(), kept.loaded.model.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)
    assert "get_image_features" not in vars(kept.loaded.model.base_model)


def test_each_set_has_its_own_features_where_a_loss_reads_both(tmp_path):
    def difference(answers, reference):
        return answers.nll.mean() - (answers.other.nll.mean() if answers.other else 0)

    def needs(_):
        return {"forget": Needs(other_set=True), "retain": Needs(other_set=True)}

    method = Method("difference", "", forget=difference, retain=difference, needs=needs)
    mask = saliency.compute(Encoder(vanilla()), SPLITS, MaskConfig(parts=("language",)))
    for name, train in (("plain", TRAIN), ("kept", KEEP)):
        run_job(Job(vanilla(), SPLITS, method, {}, train, tmp_path / name, mask=mask))
    for plain, kept in zip(log(tmp_path / "plain"), log(tmp_path / "kept"), strict=True):
        assert kept["retain"] == pytest.approx(plain["retain"], rel=1e-4)


def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    whole = run(tmp_path / "whole", KEEP)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", KEEP, progress=interrupt_at(5))
    resumed = run(tmp_path / "cut", KEEP)
    for left, right in zip(whole.loaded.model.parameters(), resumed.loaded.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_what_exceeds_the_budget_is_computed_each_time(tmp_path, seen):
    one = PATCHES * WIDTH * 4
    train = replace(TRAIN, keep_features=3.5 * one / 2**30)
    run(tmp_path / "some", train)
    some = list(seen)
    seen.clear()
    run(tmp_path / "all", KEEP)
    assert len(some) > len(seen)
    assert [line["forget"] for line in log(tmp_path / "some")] == [line["forget"] for line in log(tmp_path / "all")]


def test_nothing_is_kept_of_a_tower_that_trains_or_of_changed_images(tmp_path, seen):
    for name, parts, augment in (("trains", ("vision", "language"), "none"), ("changed", ("language",), "all")):
        train = replace(TRAIN, augment=augment, keep_text=False)
        run(tmp_path / name, train, parts=parts)
        plain = list(seen)
        seen.clear()
        run(tmp_path / f"{name}-kept", replace(train, keep_features=1.0), parts=parts)
        assert seen == plain
        seen.clear()


def test_images_of_one_term_are_changed_and_the_other_terms_kept(tmp_path, seen):
    run(tmp_path, replace(KEEP, augment="forget", keep_text=False))
    assert len([calls for calls in seen if calls > 1]) == TRAIN.steps + 1  # each forget step, and the trial


def test_features_that_vary_are_not_kept(tmp_path, caplog):
    """Dropout in the tower: the reason is said once, and training goes on as without."""
    with caplog.at_level(logging.WARNING, "mmunlearner"):
        run(tmp_path / "kept", KEEP, dropout=0.5)
    said = [m for m in caplog.messages if "keep_features" in m]
    assert said == [
        "tiny llava: train.keep_features keeps nothing, since the features of an image are not the same each time"
    ]
