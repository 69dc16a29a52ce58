"""MANU: neurons are pruned by their activations, without a gradient step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import LoraConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.files import read_jsonl
from mmunlearner.data import Splits
from mmunlearner.errors import ConfigError, DataError
from mmunlearner.methods.manu import Activations, importance, mlp_outputs
from mmunlearner.unlearn import Lora, Trained, unlearn

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
START = dict(llava(VOCABULARY).model.named_parameters())


def run(tmp_path, options=None, splits=SPLITS, **more) -> Trained:
    return unlearn(
        llava(VOCABULARY), splits, MethodConfig("manu", options=options or {}), TrainConfig(), tmp_path, **more
    )


def pruned(done: Trained) -> dict[str, torch.Tensor]:
    """Weight -> its columns that are zero now and were not."""
    weights = dict(done.loaded.model.named_parameters())
    changed = {name: p for name, p in weights.items() if not torch.equal(p, START[name])}
    return {name: (p == 0).all(0) & (START[name] != 0).any(0) for name, p in changed.items()}


def test_a_share_of_all_neurons_is_zeroed_and_nothing_else_changes(tmp_path):
    done = run(tmp_path, {"share": 0.1})
    columns = pruned(done)
    layers = mlp_outputs(llava(VOCABULARY).model)
    neurons = sum(layer.in_features for layer in layers.values())
    assert {name.removesuffix(".weight") for name in columns} <= layers.keys()
    assert sum(int(c.sum()) for c in columns.values()) == round(0.1 * neurons)
    for name, column in columns.items():
        assert torch.equal(dict(done.loaded.model.named_parameters())[name][:, ~column], START[name][:, ~column])
    assert (done.steps, done.tokens) == (0, 0)
    assert read_jsonl(tmp_path / "log.jsonl") == []
    assert done.weight_changes.inside == sum(int(c.sum()) * START[name].shape[0] for name, c in columns.items())


def test_with_a_mask_only_its_entries_are_zeroed(tmp_path):
    mask = saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=("language",)))
    done = run(tmp_path, {"share": 0.2}, mask=mask)
    assert done.weight_changes.inside > 0
    assert done.weight_changes.outside == 0


def test_importance_is_its_formula():
    """Neuron 0 acts on images alone, neuron 1 alike on both."""
    images, texts = Activations.zeros(2), Activations.zeros(2)
    images.add(torch.tensor([[[1.0, 1.0], [-3.0, 1.0]]]), 0.1)
    texts.add(torch.tensor([[[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]]), 0.1)
    magnitude, rate, variance, square = images.means()
    assert (magnitude[0], rate[0], variance[0], square[0]) == (2.0, 1.0, 4.0, 5.0)
    both = importance(images, texts)
    assert both[0] == pytest.approx(1 + 1 + 2 + 1, rel=1e-4)  # |Z|, rate, root of the variances, root of the squares
    assert both[1] == pytest.approx(0.0, abs=1e-6)


def test_mlps_are_found_by_their_shape():
    names = [name.rpartition(".")[2] for name in mlp_outputs(llava(VOCABULARY).model)]
    assert set(names) == {"fc2", "linear_2", "down_proj"}
    assert names.count("down_proj") == 2


def test_it_is_the_same_each_time(tmp_path):
    one, other = (pruned(run(tmp_path / name)) for name in ("one", "other"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_mistakes(tmp_path):
    with pytest.raises(DataError, match="no forget texts to compare"):
        run(tmp_path, splits=replace(SPLITS, text=tuple(t for t in TEXTS if t.entity != "ann")))
    with pytest.raises(ConfigError, match="edits the weights themselves"):
        run(tmp_path, adapter=Lora(LoraConfig(rank=2)))
    with pytest.raises(ConfigError, match="unknown option shares"):
        run(tmp_path, {"shares": 0.1})
