"""A step that is run in several passes is the step that is run in one: losses, gradients, logs, and after a kill."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.progress import interrupt_at
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Answers, Encoder, answers
from mmunlearner.config import LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.methods import METHODS
from mmunlearner.unlearn import Trained, make_adapter, unlearn
from mmunlearner.unlearn.collate import Collator, TermBatch
from mmunlearner.unlearn.reference import VanillaNeeds, cache_reference, second_answers
from mmunlearner.unlearn.sampler import Step

IMAGES, TEXTS = examples(), examples(images=False)
FORGET, RETAIN = tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann")
UNEVEN = (*FORGET, *RETAIN[:1], *RETAIN[3:5], *TEXTS[:5])
"""One to three questions about an image."""
SPLITS = Splits(FORGET, RETAIN, tuple(TEXTS), {})
TRAIN = TrainConfig(steps=4, retain_per_forget=2, batch_size=4, learning_rate=1e-3, keep_text=True)
CASES = [(n, {"anchor": 0.5} if n == "mmunlearner" else {}) for n, method in METHODS.items() if not method.edit]
LAYERS = (0,)
"""Decoder layers whose hidden states the terms read (RMU)."""


def moved():
    """The vanilla model a little on, so that no term is at its minimum."""
    loaded = llava(VOCABULARY)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=noise))
    return loaded


@pytest.mark.parametrize(("name", "options"), CASES, ids=[name for name, _ in CASES])
@pytest.mark.parametrize("tokens", [1, 60, 150])
def test_passes_add_up_to_the_whole_batch(name, options, tokens):
    method, loaded = METHODS[name], moved()
    terms = dict(zip(("forget", "retain"), method.bind(options), strict=True))
    needs, rows = VanillaNeeds(answers=True, features=True, layers=LAYERS), Encoder(loaded).rows(UNEVEN)
    rows += [r for t in terms.values() if t for r in second_answers(Encoder(loaded), UNEVEN, t.needs)]
    reference = cache_reference(Encoder(llava(VOCABULARY)), rows, needs, tokens=tokens)
    step = Step(0, UNEVEN, UNEVEN)

    def of(tokens: int, term: Any) -> tuple[int, float, torch.Tensor]:
        parts = Collator(Encoder(loaded), terms, reference, tokens=tokens)([step])[term]
        loaded.model.zero_grad()

        def output(part: TermBatch) -> Answers:
            second = answers(loaded.model, part.second) if part.second else None
            return replace(answers(loaded.model, part.batch, LAYERS), second=second)

        losses = [part.share * terms[term](output(part), part.reference) for part in parts]
        sum(losses).backward()
        gradients = [p.grad.flatten() for p in loaded.model.parameters() if p.grad is not None]
        return len(parts), sum(loss.item() for loss in losses), torch.cat(gradients)

    for term in (term for term in terms if terms[term] is not None):
        (one, whole, expected), (several, loss, found) = of(0, term), of(tokens, term)
        assert (one, several > 1) == (1, True)
        assert loss == pytest.approx(whole, rel=1e-6)
        assert (found - expected).norm() <= 1e-6 * expected.norm()


def run(work: Path, method: str = "mmunlearner", train: TrainConfig = TRAIN, **options: Any) -> Trained:
    chosen = MethodConfig(method, options={"anchor": 0.5} if method == "mmunlearner" else {})
    mask = None
    if method == "mmunlearner":
        mask = saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=("vision", "language")))
    return unlearn(llava(VOCABULARY), SPLITS, chosen, train, work, mask=mask, **options)


def log(work: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("method", ["mmunlearner", "kl_min", "npo"])
def test_a_run_in_small_passes_goes_as_in_whole_batches(tmp_path, method, rank):
    """Masked, with adapters, clipped, with two batches to a step: the same losses and gradient norms."""
    adapters = LoraConfig(rank=rank)
    train = replace(TRAIN, steps=2, accumulation=2)
    whole = run(tmp_path / "whole", method, train, adapter=make_adapter(adapters))
    small = run(tmp_path / "small", method, replace(train, tokens_per_batch=60), adapter=make_adapter(adapters))
    for one, other in zip(log(tmp_path / "whole"), log(tmp_path / "small"), strict=True):
        for key in ("forget", "retain", "grad_norm"):
            assert other[key] == (None if one[key] is None else pytest.approx(one[key], rel=1e-4, abs=1e-6))
        assert other["learning_rate"] == one["learning_rate"]
    assert small.tokens != whole.tokens
    assert small.weight_changes.forget_outside == 0


def test_a_killed_run_ends_with_the_same_weights(tmp_path):
    train = replace(TRAIN, tokens_per_batch=60, save_every=3)
    whole = run(tmp_path / "whole", train=train)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", train=train, progress=interrupt_at(5))
    resumed = run(tmp_path / "cut", train=train)
    for left, right in zip(whole.loaded.model.parameters(), resumed.loaded.model.parameters(), strict=True):
        assert torch.equal(left, right)
    assert resumed.tokens == whole.tokens
