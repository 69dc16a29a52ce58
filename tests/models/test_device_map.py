"""A model that is spread out by accelerate: where there is one device, as if it were not; offloaded weights are told.

Two devices are not to be had here: what stands in for the second is the disk.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import models, saliency
from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import EvaluateConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.files import read_jsonl
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError, ModelError
from mmunlearner.evaluate import evaluate_model
from mmunlearner.unlearn import unlearn

IMAGES = examples(3, 1)
SPLITS = Splits(tuple(IMAGES[:3]), tuple(IMAGES[3:]), (), {})
TRAIN = TrainConfig(steps=2, retain_per_forget=1, batch_size=2, learning_rate=1e-3, save_every=1)
NAMES = ("model.vision_tower", "model.multi_modal_projector", "model.language_model", "lm_head")
ON_DISK = [{name: "disk" if name == away else "cpu" for name in NAMES} for away in (NAMES[0], NAMES[2])]
PIECES = dict.fromkeys(NAMES, "cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return models.save(llava(VOCABULARY), tmp_path_factory.mktemp("mapped") / "vanilla")


def loss(loaded) -> torch.Tensor:
    encoder = Encoder(loaded)
    return answers(
        loaded.model, share_prefixes(encoder.rows(IMAGES), encoder).to(models.input_device(loaded.model))
    ).nll.mean()


@pytest.mark.parametrize("device_map", ["auto", "balanced", "sequential", PIECES], ids=str)
def test_one_device(source, tmp_path, device_map):
    """Mask and weights, bit for bit; the second run goes on at the first's checkpoint."""
    results = []
    for each in ("", device_map):
        loaded = models.load(source, device_map=each)
        mask = saliency.compute(Encoder(loaded), SPLITS, MaskConfig())
        done = unlearn(loaded, SPLITS, MethodConfig(), TRAIN, tmp_path / f"{bool(each)}", mask=mask)
        results.append({**mask.bits, **{f"now {n}": p for n, p in done.loaded.model.named_parameters()}})
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


@pytest.mark.parametrize("device_map", ON_DISK, ids=["vision", "language"])
def test_offloaded_weights_are_not_differentiated(source, tmp_path, device_map):
    loaded, whole = models.load(source, device_map=device_map), models.load(source)
    with torch.no_grad():
        assert torch.equal(loss(loaded), loss(whole))
    config = EvaluateConfig(max_new_tokens=3)
    for name, each in (("spread", loaded), ("whole", whole)):
        evaluate_model(each, {"forget_vqa": IMAGES}, tmp_path / name, config=config)
    spread, there = (read_jsonl(tmp_path / name / "forget_vqa.jsonl") for name in ("spread", "whole"))
    assert spread == there
    told = r"device_map: \d+ layers did not fit on the devices and are offloaded \(model\..*\), where {} cannot"
    with pytest.raises(ModelError, match=told.format("saliency, retain")):
        saliency.compute(Encoder(loaded), SPLITS, MaskConfig())
    with pytest.raises(ModelError, match=told.format("training")):
        unlearn(loaded, SPLITS, MethodConfig("ga_diff"), TRAIN, tmp_path / "work")


def test_device_and_map(source):
    with pytest.raises(ConfigError, match="device cpu: model.device_map auto chooses devices; leave one of them out"):
        models.load(source, device="cpu", device_map="auto")
