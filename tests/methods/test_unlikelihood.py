"""Unlikelihood of the whole answer, its anchor, and the budget that comes with the method."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Answers, Encoder, answers, share_prefixes
from mmunlearner.config import Augment, FinetuneConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError
from mmunlearner.methods import METHODS, Budget, Reference
from mmunlearner.methods.unlikelihood import CERTAINTY, feature_anchor, unlikelihood
from mmunlearner.models import parts
from mmunlearner.unlearn import run_job, unlearn
from mmunlearner.unlearn.reference import guesses

IMAGES = examples()
SPLITS = Splits(tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), (), {})
TRAIN = TrainConfig(steps=6, retain_per_forget=1, batch_size=4)


def answers_with(probabilities: torch.Tensor) -> Answers:
    """Answers of one token each, with these probabilities among two tokens, and a gradient to their logits."""
    logits = torch.stack([probabilities.log(), (1 - probabilities).log()], -1).requires_grad_()
    count = len(probabilities)
    return Answers(logits, torch.zeros(count, dtype=torch.long), torch.arange(count), count)


def run(tmp_path, train=TRAIN, **more):
    loaded = llava(VOCABULARY)
    unlearn(loaded, SPLITS, MethodConfig("unlikelihood"), train, tmp_path, **more)
    return loaded


def weights(loaded) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in loaded.model.named_parameters()}


@given(st.lists(st.floats(0.001, 0.99), min_size=1, max_size=5))
def test_loss_and_gradient_are_their_formulas(probabilities):
    p = torch.tensor(probabilities, dtype=torch.float64)
    batch = answers_with(p)
    loss = unlikelihood(batch, None)
    torch.testing.assert_close(loss, -(1 - CERTAINTY * p).log().mean())
    (gradient,) = torch.autograd.grad(loss, batch.logits)
    # On log p it is c p / (1 - c p); log p moves by 1 - p with its own logit.
    torch.testing.assert_close(gradient[:, 0], CERTAINTY * p / (1 - CERTAINTY * p) * (1 - p) / len(p))


def test_an_answer_of_several_tokens_counts_as_a_whole():
    logits = torch.randn(5, 7, dtype=torch.float64)
    batch = Answers(logits, torch.arange(5), torch.tensor([0, 0, 0, 1, 1]), 2)
    p = torch.stack([batch.logps[:3].sum().exp(), batch.logps[3:].sum().exp()])
    torch.testing.assert_close(unlikelihood(batch, None), -(1 - CERTAINTY * p).log().mean())


def test_what_is_surest_is_pushed_most_and_a_certain_answer_still_has_a_loss():
    batch = answers_with(torch.tensor([0.1, 0.5, 0.9, 0.99]))
    (gradient,) = torch.autograd.grad(unlikelihood(batch, None), batch.logits)
    assert (gradient[:, 0].diff() > 0).all()
    certain = Answers(torch.tensor([[90.0, -90.0]]), torch.tensor([0]), torch.tensor([0]), 1)
    assert 6.8 < unlikelihood(certain, None) < 7.0


def test_answers_below_the_floor_are_left_alone():
    batch = answers_with(torch.tensor([0.1, 0.3]))
    (gradient,) = torch.autograd.grad(unlikelihood(batch, None, floor=0.2), batch.logits)
    assert (gradient[0] == 0).all()
    assert (gradient[1] != 0).all()


def test_anchor_is_zero_at_the_vanilla_features_and_relative_elsewhere():
    features = torch.randn(6, 4)
    batch = Answers.none(features, torch.device("cpu"))
    assert feature_anchor(batch, Reference({"features": features})) == 0
    torch.testing.assert_close(
        feature_anchor(batch, Reference({"features": 2 * features}), anchor=8.0), torch.tensor(2.0)
    )


def test_without_options_the_eyes_forget_and_the_language_model_stays(tmp_path):
    # A model of random weights knows nothing: it takes some steps until the little that it says has become less.
    before, loaded = weights(llava(VOCABULARY)), run(tmp_path, replace(TRAIN, steps=20))
    after, owned = weights(loaded), parts(loaded.model)
    assert all(torch.equal(before[name], after[name]) for name in owned["language"])
    assert any(not torch.equal(before[name], after[name]) for name in owned["vision"])

    def loss(model) -> float:
        encoder = Encoder(model)
        with torch.no_grad():
            return float(unlikelihood(answers(model.model, share_prefixes(encoder.rows(SPLITS.forget), encoder)), None))

    assert loss(loaded) < loss(llava(VOCABULARY))


def test_parts_decide_what_trains(tmp_path):
    before, loaded = weights(llava(VOCABULARY)), run(tmp_path, replace(TRAIN, parts=("projector",)))
    changed = {name for name, weight in weights(loaded).items() if not torch.equal(before[name], weight)}
    assert changed
    assert changed <= set(parts(loaded.model)["projector"])


def test_a_mask_of_a_part_that_does_not_train_is_refused(tmp_path):
    splits = replace(SPLITS, text=tuple(examples(images=False)))
    mask = saliency.compute(Encoder(llava(VOCABULARY)), splits, MaskConfig(parts=("language", "vision")))
    with pytest.raises(ConfigError, match=r"train\.parts vision, projector: .* of language"):
        run(tmp_path, mask=mask)


def test_images_that_cannot_be_changed_are_said_and_left_as_they_are(tmp_path, monkeypatch, caplog):
    plain = run(tmp_path / "plain", replace(TRAIN, augment="none"))
    changed = run(tmp_path / "changed")
    monkeypatch.setattr(sys.modules[run_job.__module__], "can_augment", lambda pixels: False)
    with caplog.at_level(logging.WARNING):
        unchanged = run(tmp_path / "unchanged")
    assert "train.augment is off" in caplog.text
    equal = [torch.equal(a, b) for a, b in zip(weights(plain).values(), weights(unchanged).values(), strict=True)]
    assert all(equal)
    assert any(not torch.equal(a, b) for a, b in zip(weights(plain).values(), weights(changed).values(), strict=True))


budgets = st.builds(
    Budget,
    learning_rate=st.floats(1e-6, 1),
    steps=st.integers(1, 99),
    images_per_entity=st.integers(0, 200),
    augment=st.sampled_from(["none", "forget"]),
)
trains = st.builds(
    TrainConfig,
    learning_rate=st.sampled_from([0.0, 0.5]),
    steps=st.sampled_from([0, 7]),
    batch_size=st.integers(1, 32),
    parts=st.sampled_from([(), ("language",)]),
    augment=st.sampled_from(["auto", "all"]),
)


@given(budgets, trains, st.integers(0, 50))
def test_a_budget_fills_in_what_is_left_to_it_alone(budget, train, entities):
    filled = budget.fill(train, entities)
    assert budget.fill(filled, entities) == filled
    assert filled.steps == (train.steps or max(budget.steps, filled.steps))
    assert train.steps or filled.steps * train.batch_size >= budget.images_per_entity * entities
    for name, open_value in (("learning_rate", 0), ("parts", ()), ("augment", "auto")):
        own, used = getattr(train, name), getattr(filled, name)
        assert used == (getattr(budget, name) if own == open_value else own)


def test_every_method_has_a_budget_that_trains():
    for method in METHODS.values():
        filled = method.budget.fill(FinetuneConfig(), 12)
        assert isinstance(filled, FinetuneConfig)
        assert filled.steps >= 1
        assert filled.learning_rate > 0
        assert filled.parts
        assert filled.augment in Augment.__args__[1:]


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5), st.floats(0.01, 0.9))
def test_the_loss_is_least_where_an_answer_is_as_probable_as_a_guess(probabilities, guess):
    """Above it the gradient pushes down, below it pulls up."""
    batch = answers_with(torch.tensor(probabilities, dtype=torch.float64))
    reference = Reference({"guess": torch.full([len(probabilities)], guess, dtype=torch.float64)})
    (gradient,) = torch.autograd.grad(unlikelihood(batch, reference, guess=1.0), batch.logits)
    away = batch.logp_sum.detach().exp() - guess
    assert (gradient[:, 0].sign() == away.sign())[away.abs() > 0.01].all()


def test_guesses_are_mean_probabilities_for_other_faces():
    loaded = llava(VOCABULARY)
    encoder = Encoder(loaded)
    faces = [
        next(e for e in SPLITS.retain if e.entity == entity) for entity in sorted({e.entity for e in SPLITS.retain})
    ]
    of_rows = guesses(encoder, SPLITS.forget, faces)
    assert len(of_rows) == len(SPLITS.forget)
    for (_, value), example in zip(of_rows.items(), SPLITS.forget, strict=True):
        asked = encoder.rows([replace(example, images=face.images) for face in faces])
        with torch.no_grad():
            expected = answers(loaded.model, share_prefixes(asked, encoder)).logp_sum.exp().mean()
        torch.testing.assert_close(value, expected)
    assert not any(guesses(encoder, SPLITS.forget, []).values())


def test_an_answer_that_is_a_guess_anyway_is_not_pushed_down(tmp_path):
    """Random weights only guess: aimed at guesses, their answers keep a probability that they lose otherwise."""

    def mean_probability(options) -> float:
        loaded = llava(VOCABULARY)
        method = MethodConfig("unlikelihood", options=options | {"anchor": 0.1})
        unlearn(loaded, SPLITS, method, replace(TRAIN, steps=20, learning_rate=3e-4), tmp_path / str(options))
        encoder = Encoder(loaded)
        with torch.no_grad():
            batch = share_prefixes(encoder.rows(SPLITS.forget), encoder)
            return float(answers(loaded.model, batch).logp_sum.exp().mean())

    assert mean_probability({"guess": 1.0}) > mean_probability({})
