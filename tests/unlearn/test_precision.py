"""Short number formats and recomputed activations: what they change, and what they do not."""

from __future__ import annotations

import gc
import logging
import weakref
from dataclasses import replace

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.files import read_jsonl
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate.likelihood import LikelihoodScorer, row_key
from mmunlearner.models import Loaded
from mmunlearner.unlearn import make_adapter, unlearn
from mmunlearner.unlearn.trainer import UnlearnTrainer, share_of_weights_that_move

IMAGES = examples(3, 1)
SPLITS = Splits(tuple(IMAGES[:3]), tuple(IMAGES[3:]), (), {})
TRAIN = TrainConfig(steps=2, retain_per_forget=2, batch_size=2, learning_rate=1e-3, warmup=0)


def model(weights: torch.dtype = torch.float32) -> Loaded:
    loaded = llava(VOCABULARY)
    loaded.model.to(weights)  # pyright: ignore
    return loaded


def run(loaded, work, train=TRAIN, *, masked=False, rank=0, dtype="float32"):
    mask = saliency.compute(Encoder(loaded), SPLITS, MaskConfig()) if masked else None
    method = MethodConfig("mmunlearner" if masked else "ga_diff")
    return unlearn(
        loaded, SPLITS, method, train, work, mask=mask, adapter=make_adapter(LoraConfig(rank=rank)), dtype=dtype
    )


def test_most_bfloat16_weights_stay_where_a_small_step_leaves_them():
    """Defect 11: of N(0, 0.02) some 15 % move by 1e-5, and of float32 nearly all."""
    layer = torch.nn.Linear(400, 400, bias=False)
    torch.nn.init.normal_(layer.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert share_of_weights_that_move(layer, 1e-5) > 0.99
        assert 0.1 < share_of_weights_that_move(layer.bfloat16(), 1e-5) < 0.2


def test_a_learning_rate_that_moves_few_weights_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "mmunlearner"):
        run(model(torch.bfloat16), tmp_path / "stuck", replace(TRAIN, learning_rate=1e-6))
        run(model(torch.bfloat16), tmp_path / "lora", replace(TRAIN, learning_rate=1e-6), rank=2)
        run(model(), tmp_path / "exact", replace(TRAIN, learning_rate=1e-6))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "a step of the learning rate 1e-06 moves" in line
    assert line.endswith("hold them in float32 (model.weights) or train adapters (model.lora.rank)")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_adapters_train_in_bfloat16(tmp_path, weights, masked):
    """On weights of either format; the loss is that of float32 to a few digits."""
    done = run(model(weights), tmp_path / "short", masked=masked, rank=2, dtype="bfloat16")
    exact = run(model(), tmp_path / "exact", masked=masked, rank=2)
    assert done.weight_changes.inside > 0
    assert {p.dtype for p in done.loaded.model.parameters()} == {weights}
    assert done.steps == exact.steps
    short, long = (read_jsonl(tmp_path / name / "log.jsonl") for name in ("short", "exact"))
    for line, expected in zip(short, long, strict=True):
        assert line["retain"] == pytest.approx(expected["retain"], rel=0.02)


@pytest.mark.parametrize(("masked", "rank"), [(False, 0), (True, 0), (True, 2)])
def test_recomputed_activations_change_nothing(tmp_path, masked, rank):
    kept, again = (
        run(model(), tmp_path / str(flag), replace(TRAIN, checkpointing=flag), masked=masked, rank=rank)
        for flag in (False, True)
    )
    for left, right in zip(kept.loaded.model.parameters(), again.loaded.model.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-6)


def test_a_model_that_cannot_recompute_is_refused(tmp_path, monkeypatch):
    loaded = model()
    monkeypatch.setattr(type(loaded.model), "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match="train.checkpointing: Llava"):
        run(loaded, tmp_path, replace(TRAIN, checkpointing=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_model_that_has_not_moved_is_at_its_reference(tmp_path, dtype):
    """The anchor is the distance of features, and KL_Min's the divergence of answers, both at the first step."""
    for method, options in (("unlikelihood", {}), ("kl_min", {})):
        train = replace(TRAIN, steps=1, retain_per_forget=1, batch_size=1, augment="none")
        unlearn(model(), SPLITS, MethodConfig(method, options=options), train, tmp_path / method, dtype=dtype)
        (line,) = read_jsonl(tmp_path / method / "log.jsonl")
        assert line["retain"] == pytest.approx(0, abs=1e-6)


def test_answers_are_evaluated_as_they_were_trained():
    loaded = replace(model(), compute_dtype="bfloat16")
    encoder = Encoder(loaded)
    row = encoder.row(IMAGES[0])
    exact, short = (LikelihoodScorer(Encoder(m)).score([row])[row_key(row)].logps for m in (model(), loaded))
    assert short != exact
    assert short == pytest.approx(exact, rel=0.02)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        trained = answers(loaded.model, share_prefixes([row], encoder)).logps
    assert short == pytest.approx(trained.tolist(), rel=1e-6)


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_training_is_let_go_of_at_its_end(tmp_path, monkeypatch, dtype, rank):
    references: list[weakref.ref] = []
    save = UnlearnTrainer._save_checkpoint

    def spy(trainer, *arguments):
        moment = next(iter(trainer.optimizer.state.values()))["exp_avg"]
        references.extend(map(weakref.ref, (trainer, trainer.optimizer.optimizer, moment)))
        save(trainer, *arguments)

    monkeypatch.setattr(UnlearnTrainer, "_save_checkpoint", spy)
    done = run(model(), tmp_path, dtype=dtype, rank=rank)
    gc.collect()
    assert [reference() for reference in references] == [None] * 3
    references[:] = [weakref.ref(done.loaded.model)]
    assert "forward" not in vars(done.loaded.model)  # its own forward pass again, whatever format it trained in
    del done
    gc.collect()
    assert references[0]() is None
