"""Estimates of operations against what torch counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava
from torch.utils.flop_counter import FlopCounterMode

from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import RunConfig, TrainConfig
from mmunlearner.run.costs import Estimator
from mmunlearner.run.memory import ORDER, ForwardSize, activations, patches, sizes, training
from mmunlearner.unlearn.masking import trainable_names

CASES = [
    (ORDER, {}),
    (("vision", "projector"), {}),
    (("language",), {}),
    (("language",), {"language": "last 1"}),
    (("projector", "language"), {"language": "last 50%"}),
    (("vision",), {"vision": "last 1"}),
]


@pytest.fixture(scope="module")
def parts_of_step():
    loaded = llava(VOCABULARY, width=128)
    # A table that is far larger than the rest, and tied to the head: nothing but looked up, except for answers.
    loaded.model.resize_token_embeddings(4000)
    loaded.model.config.text_config.tie_word_embeddings = loaded.model.config.tie_word_embeddings = True
    loaded.model.tie_weights()
    encoder = Encoder(loaded)
    batch = share_prefixes(encoder.rows(examples(4, 2)), encoder)
    images = batch.passes[0].inputs["pixel_values"].shape[0]
    size = ForwardSize(batch.size, images * patches(loaded.model, 4), len(batch.tokens))
    return Estimator(RunConfig(), None, sizes(loaded.model), encoder, loaded.model), batch, size


def let_train(model, parts, layers) -> int:
    names = trainable_names(model, None, TrainConfig(parts=parts, layers=layers))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(names is None or name in names)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_a_forward_pass_is_its_products(parts_of_step) -> None:
    estimator, batch, size = parts_of_step
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        answers(estimator.model, batch)
    assert estimator.forward_operations(size) == pytest.approx(counter.get_total_flops(), rel=0.1)
    assert estimator.sizes.head == 4000 * 128
    assert sum(estimator.sizes.products.values()) < estimator.sizes.total - 4000 * 128


@pytest.mark.parametrize(("parts", "layers"), CASES)
def test_a_training_step_has_gradients_of_what_trains(parts_of_step, parts, layers) -> None:
    estimator, batch, size = parts_of_step
    let_train(estimator.model, parts, layers)
    with FlopCounterMode(display=False) as counter:
        answers(estimator.model, batch).nll.mean().backward()
    estimator.model.zero_grad()
    assert estimator.training_operations(size, parts, layers) == pytest.approx(counter.get_total_flops(), rel=0.1)


@pytest.mark.parametrize(("parts", "layers"), CASES)
def test_memory_counts_what_trains(parts_of_step, parts, layers) -> None:
    estimator, _, size = parts_of_step
    train = TrainConfig(layers=layers)
    needed = training(estimator.sizes, size, train, parts=parts)
    assert needed.gradients == 4 * let_train(estimator.model, parts, layers)
    assert needed.optimizer == 2 * needed.gradients
    whole = training(estimator.sizes, size, replace(train, layers={}), parts=parts)
    assert (needed.activations < whole.activations) == bool(set(layers) & set(parts[:1]))
    assert activations(estimator.sizes, size, parts) == whole.activations
