"""Adapters in a run: what trains, what is merged, runs that are interrupted. What masks do to them: test_masking."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.progress import interrupt_at
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError
from mmunlearner.models import candidates
from mmunlearner.unlearn import Lora, Sine, Trained, make_adapter, unlearn

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
TRAIN = TrainConfig(steps=4, retain_per_forget=2, batch_size=4, learning_rate=1e-3, save_every=3)
START = dict(llava(VOCABULARY).model.named_parameters())
ADAPTERS = [
    pytest.param(Lora(LoraConfig(rank=2)), "language", id="lora"),
    pytest.param(Sine(), "projector", id="sine"),
]


def run(work, adapter, part, **more) -> Trained:
    mask = saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=(part,)))
    method = MethodConfig("mmunlearner", options={"anchor": 1.0})
    return unlearn(llava(VOCABULARY), SPLITS, method, TRAIN, work, mask=mask, adapter=adapter, **more)


@pytest.mark.parametrize(("adapter", "part"), ADAPTERS)
def test_a_run_moves_the_chosen_part_alone_and_merges(tmp_path, adapter, part):
    done = run(tmp_path, adapter, part)
    weights = dict(done.loaded.model.named_parameters())
    assert weights.keys() == START.keys()
    moved = {name for name, p in weights.items() if not torch.equal(p, START[name])}
    owner = candidates(done.loaded.model)
    assert {owner[name] for name in moved if name in owner} == {part}
    assert all(part == "projector" and name.endswith("bias") for name in moved - owner.keys())
    assert done.weight_changes.inside > 0


@pytest.mark.parametrize(("adapter", "part"), ADAPTERS)
def test_interrupted_run_ends_with_the_same_weights(tmp_path, adapter, part):
    whole = run(tmp_path / "whole", adapter, part)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", adapter, part, progress=interrupt_at(5))
    resumed = run(tmp_path / "cut", adapter, part)
    for left, right in zip(whole.loaded.model.parameters(), resumed.loaded.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_checkpoint_holds_what_trains_alone(tmp_path):
    from safetensors import safe_open

    run(tmp_path, Sine(), "projector")
    with safe_open(tmp_path / "checkpoint-8" / "adapter.safetensors", "pt") as file:
        assert {name.rpartition(".")[2] for name in file.keys()} == {"sine_delta", "bias"}  # noqa: SIM118


def test_adapters_by_name():
    assert make_adapter(LoraConfig(rank=0)) is None
    assert make_adapter(LoraConfig(rank=2)) == Lora(LoraConfig(rank=2))
    assert make_adapter(LoraConfig(), "sine") == Sine()
    assert make_adapter(LoraConfig(), "mmunlearner.unlearn.adapters.sine:Sine") == Sine()
    with pytest.raises(ConfigError, match=r"model.adapter: unknown adapter sin; did you mean sine\?"):
        make_adapter(LoraConfig(), "sin")


def test_a_model_of_few_bits_takes_adapters_that_can_be_put_on_it(tmp_path):
    quantized = replace(llava(VOCABULARY), unquantized=lambda: llava(VOCABULARY))
    with pytest.raises(ConfigError, match="cannot be trained"):
        unlearn(quantized, SPLITS, MethodConfig("npo"), TRAIN, tmp_path, adapter=Sine())
