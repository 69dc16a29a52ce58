"""The whole way for every family: load, fine-tune, mask, unlearn, save, load again, evaluate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.progress import interrupt_at
from support.tiny import examples

from mmunlearner import saliency
from mmunlearner.batches import Encoder, Row, answers, can_share, pad, share_prefixes
from mmunlearner.config import EvaluateConfig, LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.errors import ModelError
from mmunlearner.evaluate import evaluate_model
from mmunlearner.evaluate import generate as room
from mmunlearner.evaluate.generate import generate
from mmunlearner.models import Loaded, candidates, load, parts, save
from mmunlearner.unlearn import Lora, Trained, unlearn

SEVERAL, TEXTS = examples(3, 1, images=2, seed=2), examples(2, 1, images=False)
IMAGES = [*examples(3, 1), *SEVERAL]
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
TRAIN = TrainConfig(steps=1, retain_per_forget=2, batch_size=2, learning_rate=1e-2, warmup=0, keep_text=True)
ALL = ("vision", "projector", "language")


def weights(loaded: Loaded) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in loaded.model.named_parameters()}


def run(fresh, tmp_path, method: str, lora: bool = False, **changes) -> Trained:
    """One method on the family's model; a mask of all its parts where the method takes one."""
    loaded = fresh()
    mask = saliency.compute(Encoder(loaded), SPLITS, MaskConfig(parts=ALL)) if method == "mmunlearner" else None
    train = replace(TRAIN, **changes)
    adapter = Lora(LoraConfig(rank=2)) if lora else None
    return unlearn(loaded, SPLITS, MethodConfig(method), train, tmp_path / "work", mask=mask, adapter=adapter)


def test_directory_to_scores(fresh, tmp_path):
    """Masked unlearning; what is saved is what was trained, bit for bit, and evaluates."""
    before = weights(fresh())
    done = run(fresh, tmp_path, "mmunlearner", free="mask")
    after = weights(done.loaded)
    assert done.weight_changes.forget_outside == 0
    assert done.weight_changes.outside == 0
    assert done.weight_changes.inside > 0
    owner = candidates(done.loaded.model)
    assert {owner[name] for name in before if not torch.equal(before[name], after[name])} == set(owner.values())
    home = save(done.loaded, tmp_path / "saved")
    reloaded = load(home, device="cpu")
    assert weights(reloaded).keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in weights(reloaded).items())
    columns = {"forget_vqa": SPLITS.forget, "forget_qa": SPLITS.text[:3]}
    scores = evaluate_model(reloaded, columns, tmp_path / "answers", config=EvaluateConfig(max_new_tokens=4))
    assert set(scores.columns) == set(columns)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_step_moves_every_part(fresh, tmp_path, lora):
    """With adapters, what is merged at the end is the family's model again."""
    before = weights(fresh())
    done = run(fresh, tmp_path, "mmunlearner", lora)
    after = weights(done.loaded)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part, names in parts(done.loaded.model).items():
        assert moved & set(names) or not set(names) & set(candidates(done.loaded.model)), part
    assert all(value.isfinite().all() for value in after.values())


@pytest.mark.slow
def test_anchor(fresh, tmp_path, request):
    """Refused where images go by cross-attention."""
    loaded, config = fresh(), MethodConfig("mmunlearner", options={"anchor": 30.0})
    mask = saliency.compute(Encoder(loaded), SPLITS, MaskConfig(parts=ALL))
    if request.node.callspec.params["fresh"] == "Mllama":
        with pytest.raises(ModelError, match="does not read its images as tokens"):
            unlearn(loaded, SPLITS, config, TRAIN, tmp_path, mask=mask)
        return
    far = []
    for anchor in (0.0, 30.0):
        config = MethodConfig("mmunlearner", options={"anchor": anchor})
        done = unlearn(fresh(), SPLITS, config, replace(TRAIN, steps=4), tmp_path / str(anchor), mask=mask)
        far.append(distance(fresh(), done.loaded))
    assert far[1] < far[0]


def distance(vanilla: Loaded, model: Loaded) -> float:
    """Of the retain images' features."""
    shown = []
    for loaded in (vanilla, model):
        encoder = Encoder(loaded)
        with torch.no_grad():
            shown.append(answers(loaded.model, share_prefixes(encoder.rows(SPLITS.retain), encoder)).features)
    return (shown[0] - shown[1]).norm().item()


def test_generation_equals_greedy_decoding(family):
    """Token by token without a cache, each row alone, against `generate` on padded batches of images and texts."""
    encoder = Encoder(family)
    items = [*IMAGES[:4], *SEVERAL[3:7], *TEXTS[:3]]
    asked = [encoder.prompt(item.question, item.images) for item in items]
    config = EvaluateConfig(max_new_tokens=5, batch_size=4)
    assert generate(asked, encoder, config, lambda _: None) == [slowly(row, encoder, 5) for row in asked]


def test_generation_shares_the_images(family, monkeypatch):
    """Where questions share a row, they share what has been read of it, at the positions that each has alone."""
    encoder = Encoder(family)
    asked = [encoder.prompt(item.question, item.images) for item in examples(4, 2)[:12]]
    config = EvaluateConfig(max_new_tokens=5, batch_size=16)
    seen: list[int] = []
    handle = family.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    together = generate(asked, encoder, config, lambda _: None)
    shares, shown = can_share(asked, encoder), sum(seen)
    monkeypatch.setattr(room, "can_share", lambda *_: False)
    alone = generate(asked, encoder, config, lambda _: None)
    handle.remove()
    assert together == alone
    assert (2 * shown < sum(seen)) == shares


def slowly(row: Row, encoder: Encoder, longest: int) -> tuple[int, ...]:
    """Greedy decoding by whole forward passes over the row so far."""
    said: tuple[int, ...] = ()
    while len(said) < longest and not (said and said[-1] in encoder.ends):
        more = encoder.extend(row, (*said, row.input_ids[-1]))
        with torch.no_grad():
            best = answers(encoder.loaded.model, pad([more], encoder)).logits.argmax(-1)
        said = (*said, int(best[-1]))
    return said


@pytest.mark.slow
def test_resumed_weights(fresh, tmp_path):
    """Names of weights differ on disk and in memory, by family; a checkpoint is read all the same."""
    whole = run(fresh, tmp_path / "whole", "ga_diff", steps=2, save_every=1)

    train, method = replace(TRAIN, steps=2, save_every=1), MethodConfig("ga_diff")
    with pytest.raises(KeyboardInterrupt):
        unlearn(fresh(), SPLITS, method, train, tmp_path / "cut", progress=interrupt_at(3))
    resumed = unlearn(fresh(), SPLITS, method, train, tmp_path / "cut")
    expected = weights(whole.loaded)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed.loaded).items())
