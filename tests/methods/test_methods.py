"""The losses as formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.batches import Answers
from mmunlearner.errors import ConfigError, ModelError
from mmunlearner.methods import METHODS, Method, Reference, resolve
from mmunlearner.methods.ga import retain_cross_entropy
from mmunlearner.methods.mmunlearner import anchored_cross_entropy


def made(seed: int, questions: int = 3, vocabulary: int = 7) -> Answers:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 4, (questions,), generator=generator)
    total = int(lengths.sum())
    logits = torch.randn(total, vocabulary, generator=generator, dtype=torch.float64).requires_grad_()
    tokens = torch.randint(vocabulary, (total,), generator=generator)
    return Answers(logits, tokens, torch.arange(questions).repeat_interleave(lengths), questions)


def reference_of(answers: Answers, top: int | None = None) -> Reference:
    logps = answers.logits.detach().log_softmax(-1).topk(top or answers.logits.shape[-1], -1)
    return Reference({"logp_sum": answers.logp_sum.detach(), "topk_logps": logps.values, "topk_ids": logps.indices})


def with_features(reference: Reference, features: torch.Tensor) -> Reference:
    return Reference({**reference.tensors, "features": features})


def gradient(loss: torch.Tensor, answers: Answers) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss, answers.logits)
    return found


seeds = st.integers(0, 10_000)


@given(seeds)
def test_ga_is_minus_cross_entropy(seed):
    answers = made(seed)
    per_question = [
        torch.nn.functional.cross_entropy(answers.logits[answers.question == q], answers.tokens[answers.question == q])
        for q in range(answers.count)
    ]
    forget, _ = METHODS["ga"].bind({})
    torch.testing.assert_close(forget(answers, None), -torch.stack(per_question).mean())


@given(seeds, seeds)
def test_npo_becomes_ga_as_beta_vanishes(seed, other):
    """Up to length: NPO's gradient is that of log p of the whole answer."""
    answers, reference = made(seed), reference_of(made(seed))
    forget, _ = METHODS["npo"].bind({"beta": 1e-6})
    torch.testing.assert_close(
        gradient(forget(answers, reference), answers), gradient(answers.logp_sum.mean(), answers), rtol=1e-4, atol=1e-6
    )


@given(seeds)
def test_npo_is_its_equation(seed):
    answers, reference = made(seed), reference_of(made(seed + 1))
    if reference.logp_sum.shape != answers.logp_sum.shape:
        return
    forget, _ = METHODS["npo"].bind({"beta": 0.4})
    expected = -(2 / 0.4) * torch.log(torch.sigmoid(-0.4 * (answers.logp_sum - reference.logp_sum))).mean()
    torch.testing.assert_close(forget(answers, reference), expected)


@given(seeds)
def test_kl_is_zero_at_the_reference_and_positive_elsewhere(seed):
    answers = made(seed)
    _, retain = METHODS["kl_min"].bind({})
    here = retain(answers, reference_of(answers))
    torch.testing.assert_close(here, torch.zeros_like(here), atol=1e-12, rtol=0)
    assert gradient(retain(answers, reference_of(answers)), answers).abs().max() < 1e-12
    moved = Answers(answers.logits + torch.randn_like(answers.logits), answers.tokens, answers.question, answers.count)
    assert retain(moved, reference_of(answers)) > 0


@given(seeds)
def test_kl_over_the_likeliest_tokens_is_a_lower_bound(seed):
    answers, moved = made(seed), made(seed)
    moved = Answers(moved.logits.roll(1, -1), moved.tokens, moved.question, moved.count)
    _, retain = METHODS["kl_min"].bind({})
    full, some = retain(moved, reference_of(answers)), retain(moved, reference_of(answers, top=3))
    assert 0 <= some <= full + 1e-9


@given(seeds, st.floats(0.1, 5.0))
def test_bound_stops_the_ascent_of_answers_that_are_unlikely_enough(seed, bound):
    answers = made(seed)
    forget, _ = METHODS["mmunlearner"].bind({"bound": bound})
    found = gradient(forget(answers, None), answers)
    stopped = (answers.nll > bound)[answers.question]
    assert (found[stopped] == 0).all()
    assert (found[~stopped] != 0).any(-1).all()


@given(seeds)
def test_mmunlearner_without_a_bound_is_ga_diff(seed):
    answers = made(seed)
    ours, theirs = METHODS["mmunlearner"].bind({}), METHODS["ga_diff"].bind({})
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.equal(mine(answers, None), other(answers, None))


def test_options_are_the_keyword_only_arguments():
    assert METHODS["mmunlearner"].options == {"bound": math.inf, "retain_weight": 1.0, "anchor": 0.0}
    assert METHODS["ga"].options == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"betta": 1.0}, "did you mean beta"), ({"x": 1.0}, "known: beta"), ({"beta": "much"}, "a number is expected")],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        METHODS["npo"].bind(options)


def test_methods_by_name():
    mine = resolve("mmunlearner.methods.npo:METHOD", METHODS)
    assert isinstance(mine, Method)
    assert mine is METHODS["npo"]
    with pytest.raises(ConfigError, match="did you mean kl_min"):
        resolve("klmin", METHODS)
    with pytest.raises(ConfigError, match="cannot be imported"):
        resolve("no.such.module:x", METHODS)
    with pytest.raises(ConfigError, match="is a function"):
        resolve("mmunlearner.methods.npo:npo", METHODS)


def test_the_anchor_is_the_relative_squared_distance_of_the_features() -> None:
    said = made(0)
    features = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    moved = replace(said, features=features + torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    reference = with_features(reference_of(said), features)
    plain = anchored_cross_entropy(moved, reference)
    assert torch.equal(plain, retain_cross_entropy(moved, reference))
    torch.testing.assert_close(
        anchored_cross_entropy(moved, reference, anchor=2.0) - plain, torch.tensor(2.0 / 25), check_dtype=False
    )


def test_an_anchor_without_features_is_refused() -> None:
    said = made(0)
    reference = reference_of(said)
    for without in (reference, None):
        with pytest.raises(ModelError, match="anchor"):
            anchored_cross_entropy(said, without, anchor=1.0)


def test_an_anchor_holds_nothing_in_a_batch_of_texts() -> None:
    said = replace(made(0), features=torch.empty(0, 2))
    reference = with_features(reference_of(said), torch.empty(0))
    assert torch.equal(anchored_cross_entropy(said, reference, anchor=2.0), anchored_cross_entropy(said, reference))


ALONE = {"anchor": 1.0, "retain_weight": 0.0}


def test_an_anchor_alone_asks_for_no_answers() -> None:
    method = METHODS["mmunlearner"]
    assert [term.needs.language_model for term in method.bind({"anchor": 1.0}) if term] == [True, True]
    assert [term.needs.language_model for term in method.bind(ALONE) if term] == [True, False]
    assert [term.needs.language_model for term in METHODS["ga_diff"].bind({"retain_weight": 0.0}) if term] == [True] * 2
    whole = replace(made(0), features=torch.tensor([[3.0, 1.0]]))
    reference = with_features(reference_of(whole), torch.tensor([[3.0, 0.0]]))
    nothing = whole.tokens[:0]
    unsaid = replace(whole, logits=whole.logits[:0], tokens=nothing, question=nothing, count=0)
    alone = anchored_cross_entropy(unsaid, reference, retain_weight=0.0, anchor=9.0)
    torch.testing.assert_close(alone, torch.tensor(1.0), check_dtype=False)
    beside = anchored_cross_entropy(whole, reference, anchor=9.0) - retain_cross_entropy(whole, reference)
    torch.testing.assert_close(beside, alone, check_dtype=False)


def test_the_vanilla_model_is_asked_what_the_terms_need() -> None:
    def vanilla(name: str, **options: float) -> list[tuple[str, ...]]:
        return [tuple(term.needs.vanilla) for term in METHODS[name].bind(options) if term]

    assert vanilla("mmunlearner") == vanilla("mmunlearner", anchor=0.0) == [(), ()]
    assert vanilla("mmunlearner", anchor=1.0) == [(), ("features",)]
    assert vanilla("npo") == [("answers",)]
    assert vanilla("kl_min") == [(), ("answers",)]
    assert vanilla("rmu") == [(), ("hidden",)]


def test_what_was_not_asked_for_is_an_error_that_says_so() -> None:
    npo, _ = METHODS["npo"].bind({})
    with pytest.raises(ConfigError, match=r"reads reference.logp_sum, but .* Needs\(vanilla=\('answers',\)\)"):
        npo(made(0), Reference())


def test_a_method_trains_or_edits() -> None:
    with pytest.raises(ConfigError, match="loss terms, or an edit"):
        Method("nothing", paper="")
    with pytest.raises(ConfigError, match="loss terms, or an edit"):
        Method("both", paper="", forget=METHODS["ga"].forget, edit=METHODS["manu"].edit)
