"""The memory plan counts what the steps hold."""

from __future__ import annotations

import pytest
import torch
from tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder
from mmunlearner.memory import saliency_memory, training_memory
from mmunlearner.models import candidates, parts
from mmunlearner.saliency import fisher, units

ALL = ("vision", "projector", "language")


@pytest.fixture(scope="module")
def model():
    return llava(VOCABULARY).model


def test_squares_are_those_that_a_pass_keeps(model):
    encoder = Encoder(llava(VOCABULARY))
    kept = fisher(encoder, units(examples(1, 1), "image", 0), list(candidates(model))).squares
    plan = saliency_memory(model, ALL, 100, torch.bfloat16)
    assert plan.squares == sum(squares.nbytes for squares in kept.values())
    assert plan.weights == 2 * sum(p.numel() for p in model.parameters())
    assert plan.gradients == 6 * max(squares.numel() for squares in kept.values())
    assert saliency_memory(model, ALL, 100, torch.bfloat16, squares_on_host=True).total == plan.total - plan.squares


def test_only_what_trains_has_gradients_and_moments(model):
    weights = dict(model.named_parameters())
    trained = sum(weights[name].numel() for name in parts(model)["vision"])
    plan = training_memory(model, ("vision",), 100, torch.bfloat16)
    assert (plan.gradients, plan.moments) == (4 * trained, 8 * trained)
    assert plan.weights == 4 * sum(w.numel() for w in weights.values())


def test_of_large_models_the_inputs_of_layers_are_kept(model, monkeypatch):
    monkeypatch.setattr("mmunlearner.memory.RECOMPUTE_FROM", 0)
    assert saliency_memory(model, ALL, 100, torch.bfloat16).activations == 2 * 100 * (2 * 32 + 2 * 32 + 17 * 32)


def test_activations_grow_with_tokens_and_width(model):
    one, two = (training_memory(model, ALL, n, torch.bfloat16).activations for n in (100, 200))
    assert two == 2 * one == 34 * 200 * (2 * 32 + 2 * 32)
    wide = training_memory(llava(VOCABULARY, width=48).model, ALL, 100, torch.float32).activations
    assert wide == 2 * one * 48 // 32
