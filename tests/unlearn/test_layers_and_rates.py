"""What trains in each part, and at which learning rate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.progress import Listener
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.files import read_jsonl
from mmunlearner.core.recipes import build
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError
from mmunlearner.models import outside_layers, parts
from mmunlearner.unlearn import make_adapter, unlearn

IMAGES = examples(3, 1)
SPLITS = Splits(tuple(IMAGES[:3]), tuple(IMAGES[3:]), tuple(examples(3, 1, images=False)), {})
TRAIN = TrainConfig(steps=4, retain_per_forget=1, batch_size=2, learning_rate=1e-3, save_every=1)
LAST = {"language": "last 1"}


def run(work, train=TRAIN, method="finetune", **more):
    return unlearn(llava(VOCABULARY), SPLITS, MethodConfig(method), train, work, **more)


def moved(done) -> set[str]:
    start = dict(llava(VOCABULARY).model.named_parameters())
    return {name for name, p in done.loaded.model.named_parameters() if not torch.equal(p, start[name])}


@pytest.mark.parametrize("rank", [0, 2])
def test_a_frozen_layer_does_not_move(tmp_path, rank) -> None:
    train = replace(TRAIN, parts=("language",), layers=LAST)
    done = run(tmp_path, train, adapter=make_adapter(LoraConfig(rank=rank)))
    model = llava(VOCABULARY).model
    chosen = set(parts(model)["language"]) - outside_layers(model, LAST)
    assert moved(done)
    assert moved(done) <= chosen
    assert rank or moved(done) == chosen
    weights = dict(model.named_parameters())
    whole = sum(weights[name].numel() for name in chosen)
    assert done.trainable < whole if rank else done.trainable == whole


def test_a_mask_acts_in_the_layers_that_train(tmp_path) -> None:
    mask = saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=("language",)))
    done = run(tmp_path, replace(TRAIN, layers=LAST, free="mask"), "mmunlearner", mask=mask)
    allowed = mask.bits.keys() - outside_layers(llava(VOCABULARY).model, LAST)
    assert moved(done) == allowed
    assert done.weight_changes.forget_outside == 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
def test_equal_rates_are_one_rate(tmp_path, optimizer) -> None:
    one = replace(TRAIN, optimizer=optimizer)
    many = replace(one, learning_rates=dict.fromkeys(("vision", "projector", "language"), one.learning_rate))
    left, right = run(tmp_path / "one", one), run(tmp_path / "many", many)
    for a, b in zip(left.loaded.model.parameters(), right.loaded.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_part_moves_by_its_own_rate(tmp_path, rank) -> None:
    """AdamW moves each number by its learning rate in the first step."""
    train = replace(TRAIN, steps=1, warmup=0, learning_rates={"projector": 1e-2}, parts=("projector", "language"))
    done = run(tmp_path, train, adapter=make_adapter(LoraConfig(rank=rank, alpha=rank)))
    (line,) = read_jsonl(tmp_path / "log.jsonl")
    assert line["learning_rates"] == pytest.approx({"projector": 1e-2, "language": 1e-3})
    start, owned = dict(llava(VOCABULARY).model.named_parameters()), parts(done.loaded.model)
    change = {name: (p - start[name]).abs().max().item() for name, p in done.loaded.model.named_parameters()}
    largest = {part: max(change[name] for name in owned[part]) for part in owned}
    assert largest["vision"] == 0
    if not rank:
        assert largest == pytest.approx({"vision": 0, "projector": 1e-2, "language": 1e-3}, rel=1e-2)
    assert largest["projector"] > 3 * largest["language"] > 0


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_keeps_its_rates_and_layers(tmp_path, optimizer) -> None:
    train = replace(TRAIN, optimizer=optimizer, layers=LAST, learning_rates={"projector": 1e-2, "language": 1e-4})
    whole = run(tmp_path / "whole", train)

    def stop(title, step, steps):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", train, progress=Listener(stop))
    resumed = run(tmp_path / "cut", train)
    for a, b in zip(whole.loaded.model.parameters(), resumed.loaded.model.parameters(), strict=True):
        assert torch.equal(a, b)
    rates = [[line["learning_rates"] for line in read_jsonl(tmp_path / n / "log.jsonl")] for n in ("whole", "cut")]
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"layers": {"vision": "last 1"}}, "train.layers.vision: this part does not train .projector, language do."),
        ({"learning_rates": {"vision": 1e-3}}, "train.learning_rates.vision: this part does not train"),
        ({"layers": {"language": "last 9"}}, "train.layers.language last 9: .* has 2 layers, 0 to 1"),
    ],
)
def test_a_wrong_choice_is_refused(tmp_path, options, problem) -> None:
    with pytest.raises(ConfigError, match=problem):
        run(tmp_path, replace(TRAIN, parts=("projector", "language"), **options))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"layers": {"language": "the last"}}, "layers.language: expected layers as `last 10`, .* found 'the last'"),
        ({"layers": {"speech": "last 1"}}, "layers: expected values of vision, projector, language, found 'speech'"),
        ({"learning_rates": {"vision": 0}}, "learning_rates.vision: expected more than 0, found 0"),
    ],
)
def test_what_is_no_choice_is_refused(options, problem) -> None:
    with pytest.raises(ConfigError, match=problem):
        build(TrainConfig, options)
