"""Unlearning against relearning: the copy, the gradient that it adds, and what it leaves as it is."""

from __future__ import annotations

import logging
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import LoraConfig, MaskConfig, MethodConfig, RunConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError
from mmunlearner.methods import METHODS
from mmunlearner.methods.unlikelihood import unlikelihood
from mmunlearner.run.costs import Estimator, unlearning
from mmunlearner.run.memory import sizes
from mmunlearner.unlearn import Trained, make_adapter, unlearn
from mmunlearner.unlearn.sampler import StepSampler

IMAGES = examples(4, 2)
FORGET = tuple(e for e in IMAGES if e.entity in sorted({e.entity for e in IMAGES})[:3])
SPLITS = Splits(FORGET, tuple(e for e in IMAGES if e not in FORGET), (), {})
TRAIN = TrainConfig(
    steps=8, retain_per_forget=1, batch_size=2, augment="none", optimizer="sgd", learning_rate=1e-3, clip=0.0,
    schedule="constant", warmup=0.0, save_every=5,
)  # fmt: skip
WITHOUT = {"anchor": 0.1}
STRONG = WITHOUT | {"relearn_weight": 2.0, "relearn_steps": 3.0, "relearn_rate": 3e-3}


def run(work: Path, options=STRONG, train=TRAIN, splits=SPLITS, **more) -> Trained:
    return unlearn(llava(VOCABULARY), splits, MethodConfig("unlikelihood", options=options), train, work, **more)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trained.loaded.model.named_parameters()}


def are_equal(a: Trained, b: Trained) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


def sampler(seed: int, steps: int, relearn_steps: int) -> StepSampler:
    return StepSampler.of(FORGET, SPLITS.retain, replace(TRAIN, steps=steps), seed, relearn_steps=relearn_steps)


@given(st.integers(0, 9), st.integers(1, 4), st.integers(1, 9))
def test_halves_are_apart_and_stay_until_the_copy_starts_anew(seed, relearn_steps, steps):
    plain, with_halves = sampler(seed, steps, 0), sampler(seed, steps, relearn_steps)
    assert [(step.forget, step.retain) for step in plain] == [(step.forget, step.retain) for step in with_halves]
    learned: dict[int, set[str]] = {}
    others: dict[int, set[str]] = {}
    for number, step in enumerate(with_halves):
        assert step.relearned
        assert step.others
        learned.setdefault(number // relearn_steps, set()).update(e.entity for e in step.relearned)
        others.setdefault(number // relearn_steps, set()).update(e.entity for e in step.others)
    for period, entities in learned.items():
        assert not entities & others[period]
        assert len(entities) == 1  # half of three, rounded down


def test_its_tokens_are_forecast(tmp_path):
    loaded, train = llava(VOCABULARY), replace(TRAIN, steps=2)
    method = MethodConfig("unlikelihood", options=STRONG, train={"augment": "none"})
    config = RunConfig(methods={"it": method}, train=train)
    estimator = Estimator(config, SPLITS, sizes(loaded.model), Encoder(loaded), loaded.model)
    cost, trained = unlearning(estimator, "it"), run(tmp_path, train=train)
    assert (cost.tokens, cost.steps) == (trained.tokens, trained.steps)
    assert cost.memory
    assert cost.memory.relearning


def test_a_weight_of_almost_nothing_leaves_the_run_as_it_is(tmp_path):
    """So the copy moves nothing but itself."""
    assert are_equal(run(tmp_path / "without", WITHOUT), run(tmp_path / "with", STRONG | {"relearn_weight": 1e-30}))
    assert not are_equal(run(tmp_path / "without", WITHOUT), run(tmp_path / "strong"))


def test_the_gradient_is_that_of_the_other_half_at_the_weights_of_the_copy(tmp_path):
    train = replace(TRAIN, steps=1, learning_rate=1.0)
    without, with_copy = weights(run(tmp_path / "a", WITHOUT, train)), weights(run(tmp_path / "b", STRONG, train))
    step = sampler(0, 1, 3)[0]
    assert step.relearned
    assert step.others
    copy = llava(VOCABULARY)
    encoder, before = Encoder(copy), deepcopy(copy.model.state_dict())
    optimizer = torch.optim.AdamW(copy.model.parameters(), STRONG["relearn_rate"], weight_decay=0.0)
    answers(copy.model, share_prefixes(encoder.rows(step.relearned), encoder)).nll.mean().backward()
    optimizer.step()
    assert not torch.equal(copy.model.state_dict()["lm_head.weight"], before["lm_head.weight"])  # all its weights learn
    optimizer.zero_grad()
    unlikelihood(answers(copy.model, share_prefixes(encoder.rows(step.others), encoder)), None).backward()
    for name, parameter in copy.model.named_parameters():
        moved = (without[name] - with_copy[name]) / STRONG["relearn_weight"]
        frozen = (
            "language" in name or "lm_head" in name or parameter.grad is None
        )  # the last layer's features go unread
        expected = torch.zeros_like(moved) if frozen else parameter.grad
        torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("adapter", [None, make_adapter(LoraConfig(rank=2))], ids=["weights", "adapters"])
def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path, adapter):
    """Step 5 is in the middle of the copy's three."""
    train = replace(TRAIN, optimizer="adamw", learning_rate=1e-2)
    whole = run(tmp_path / "whole", train=train, adapter=adapter)
    shutil.copytree(tmp_path / "whole" / "checkpoint-5", tmp_path / "killed" / "checkpoint-5")
    assert are_equal(run(tmp_path / "killed", train=train, adapter=adapter), whole)


def test_the_mask_holds_at_the_copy_too(tmp_path):
    splits = replace(SPLITS, text=tuple(examples(images=False)))
    mask = saliency.compute(Encoder(llava(VOCABULARY)), splits, MaskConfig(parts=("vision",)))
    changes = run(tmp_path, train=replace(TRAIN, free="mask"), splits=splits, mask=mask).weight_changes
    assert changes.inside
    assert not changes.outside
    assert not changes.forget_outside


def test_a_single_entity_has_no_other_half(tmp_path, caplog):
    alone = replace(SPLITS, forget=tuple(e for e in FORGET if e.entity == FORGET[0].entity))
    with caplog.at_level(logging.WARNING):
        trained = run(tmp_path / "asked", splits=alone)
    assert "the only entity to forget" in caplog.text
    assert are_equal(trained, run(tmp_path / "plain", WITHOUT, splits=alone))


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"relearn_steps": 0.5}, "whole number"), ({"relearn_rate": 0.0}, "above 0"), ({"relearn_weight": -1.0}, "above")],
)
def test_options_that_make_no_copy(options, problem):
    with pytest.raises(ConfigError, match=problem):
        METHODS["unlikelihood"].bind_relearning(STRONG | options)
