"""The page and the package compute the same: mask, losses, weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoProcessor

from examples import flat_loop
from mmunlearner import data, models, saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import DataConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.files import read_jsonl
from mmunlearner.data import Example, Splits, group_by_image, prompt, target
from mmunlearner.saliency import Mask
from mmunlearner.unlearn import unlearn
from mmunlearner.unlearn.sampler import StepSampler

PARTS = ("vision", "projector")
TRAIN = TrainConfig(
    learning_rate=flat_loop.LEARNING_RATE, steps=3, retain_per_forget=flat_loop.RETAIN_PER_FORGET, batch_size=6,
    questions=2, clip=flat_loop.CLIP, warmup=0, schedule="constant", free="parts",
)  # fmt: skip
"""The paper's plain method: `mmunlearner` without options has no bound and no anchor."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flat") / "people"


@pytest.fixture(scope="module")
def people(folder: Path) -> Splits:
    return data.load(DataConfig("people", root=str(folder)))


@pytest.fixture(scope="module")
def splits(people: Splits) -> Splits:
    """The first image of each of ten people, of either set."""

    def first_images(examples: Sequence[Example]) -> tuple[Example, ...]:
        first = {group[0].entity: group for group in reversed(group_by_image(examples))}
        return tuple(chain.from_iterable(list(first.values())[:10]))

    return replace(people, forget=first_images(people.forget), retain=first_images(people.retain))


@pytest.fixture(scope="module")
def mask(splits: Splits) -> Mask:
    encoder = Encoder(models.load("people:vanilla", device="cpu"))
    return saliency.compute(encoder, splits, MaskConfig(parts=PARTS, beta=1.0))


def model_and_processor() -> tuple[Any, Any]:
    """The model as the page holds it: the language part frozen."""
    model = flat_loop.AutoModelForImageTextToText.from_pretrained(flat_loop.MODEL)
    for name, weight in model.named_parameters():
        weight.requires_grad_("language_model" not in name and "lm_head" not in name)
    return model, AutoProcessor.from_pretrained(flat_loop.MODEL)


def batch(examples: Iterable[Example]) -> list[tuple]:
    """The page's form of some questions."""
    return [(example.images[0].open(), prompt(example), target(example)) for example in examples]


def images(examples: Iterable[Example]) -> list[tuple]:
    """The page's form of a split."""
    groups = [batch(group) for group in group_by_image(examples)]
    return [(group[0][0], [pair for _, *pair in group]) for group in groups]


def weights_of(model: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    weights = dict(model.named_parameters())
    return {name: weights[name] for name in names}


def differences(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([(a[name] - b[name]).detach().abs().flatten() for name in a])


def test_data(folder: Path, people: Splits) -> None:
    """The page reads the questions that the package reads."""
    read = flat_loop.read(folder / "baseline_train_split/forget_15")
    expected = images(people.forget)
    assert [[tuple(pair) for pair in pairs] for _, pairs in expected] == [pairs for _, pairs in read]
    assert all(a.tobytes() == b.tobytes() for (a, _), (b, _) in zip(expected, read, strict=True))


def test_mask(splits: Splits, mask: Mask) -> None:
    """Bits differ only where both saliencies are equal up to rounding."""
    model, processor = model_and_processor()
    weights = weights_of(model, mask.bits)
    s_forget = flat_loop.saliency(model, processor, images(splits.forget), weights)
    s_retain = flat_loop.saliency(model, processor, images(splits.retain), weights)
    flat = {n: (s_forget[n] + flat_loop.EPS) / (s_retain[n] + flat_loop.EPS) >= flat_loop.BETA for n in weights}
    count = 0
    for name, bits in flat.items():
        differ = bits != mask.of(name)
        count += int(differ.sum())
        torch.testing.assert_close(s_forget[name][differ], s_retain[name][differ], rtol=1e-3, atol=1e-9)
    assert count <= 1e-5 * mask.size  # 2 of 635,904 were measured


def test_losses_and_weights(splits: Splits, mask: Mask, tmp_path: Path) -> None:
    """Six steps over the same draws: losses to 1e-4, weights to a thousandth of what they moved by on average.

    AdamW divides a gradient by its size, so single weights whose gradient is nothing but rounding move otherwise.
    """
    steps = StepSampler.of(splits.forget, splits.retain, TRAIN, 0)
    draws = [steps[i] for i in range(len(steps))]
    model, processor = model_and_processor()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    bits = {name: mask.of(name) for name in mask.bits}
    losses = flat_loop.train(
        model, processor, bits, [(batch(step.forget or ()) or None, batch(step.retain or ())) for step in draws]
    )
    vanilla = models.load("people:vanilla", device="cpu")
    unlearned = unlearn(vanilla, splits, MethodConfig("mmunlearner"), TRAIN, tmp_path / "work", mask=mask).loaded.model

    log = read_jsonl(tmp_path / "work" / "log.jsonl")
    assert len(log) == len(losses) == 6
    for (forget, retain), line in zip(losses, log, strict=True):
        assert retain == pytest.approx(line["retain"], rel=1e-4, abs=1e-5)
        assert (forget is None) == (line["forget"] is None)
        assert forget is None or forget == pytest.approx(-line["forget"], rel=1e-4, abs=1e-5)
    moved = differences(weights_of(unlearned, before), before)
    apart = differences(weights_of(unlearned, before), weights_of(model, before))
    assert moved.mean() > 0.1 * TRAIN.learning_rate
    assert apart.mean() < 1e-3 * moved.mean()
    assert (apart > 0.01 * TRAIN.learning_rate).float().mean() < 0.01
    for name, weight in unlearned.named_parameters():
        if not name.startswith(("model.vision_tower", "model.multi_modal_projector")):
            assert torch.equal(weight, before[name])


def test_page(folder: Path, people: Splits, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """It runs from top to bottom."""
    for name, small in {"IMAGES": 4, "STEPS": 1, "BATCH": 3}.items():
        monkeypatch.setattr(flat_loop, name, small)
    flat_loop.main(folder)
    assert "before: {'forget VQA': '100%'" in capsys.readouterr().out


@pytest.mark.slow
def test_forgets_and_keeps(folder: Path, people: Splits, capsys: pytest.CaptureFixture) -> None:
    """With its own settings it forgets most of what it is to forget and keeps the rest (23 and 96 % were measured)."""
    flat_loop.main(folder)
    forget, retain = (int(per_cent) for per_cent in re.findall(r"(\d+)%'", capsys.readouterr().out.split("after")[1]))
    assert forget < 50
    assert retain > 90
