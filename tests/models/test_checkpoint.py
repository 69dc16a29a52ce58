"""A checkpoint is read whole or refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families.zoo import FAMILIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from support.tiny import VOCABULARY, llava
from torch import Tensor
from transformers import LlamaConfig

from mmunlearner.errors import ModelError
from mmunlearner.models import Loaded, load, load_skeleton, meta_model, save

WEIGHTS = "model.safetensors"
Change = Callable[[dict[str, Tensor]], object]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(llava(VOCABULARY), tmp_path / "model")


def change(source: Path, edit: Change) -> None:
    weights = load_file(source / WEIGHTS)
    edit(weights)
    save_file(weights, source / WEIGHTS, metadata={"format": "pt"})


def name_of(source: Path, part: str) -> str:
    return next(name for name in load_file(source / WEIGHTS) if part in name)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(llava(VOCABULARY), tmp_path_factory.mktemp("pristine") / "model")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=st.data())
def test_any_missing_weight(pristine: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever part it is of: a norm, an embedding, a bias of the projector."""
    weights = load_file(pristine / WEIGHTS)
    absent = data.draw(st.sampled_from(sorted(weights)))
    source = save(llava(VOCABULARY), tmp_path / "model")
    change(source, lambda weights: weights.pop(absent))
    for read in (load, load_skeleton):
        with pytest.raises(ModelError, match=rf"lacks 1 of its weights \([\w.]*{absent.rsplit('.', 2)[-2]}"):
            read(source)


@pytest.mark.parametrize("family", FAMILIES)
def test_renamed_weight_of_every_family(family: str, tmp_path: Path) -> None:
    source = save(Loaded(*FAMILIES[family](), family), tmp_path / "model")
    load_skeleton(source)
    names = sorted(load_file(source / WEIGHTS))
    change(source, lambda weights: weights.update({"old.name": weights.pop(names[len(names) // 2])}))
    with pytest.raises(ModelError, match=r"lacks \d+ of its weights .*has old\.name, which the model has not"):
        load_skeleton(source)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda w, n: w.update({n: w[n].T.contiguous()[:, :5].contiguous()}), r"is \(\d+, 5\) there, and \(\d+, \d+\)"),
        (lambda w, n: w[n].view(-1)[3:4].fill_(torch.nan), "has entries that are not finite numbers"),
        (lambda w, n: w[n].fill_(torch.inf), "has entries that are not finite numbers"),
    ],
)
@pytest.mark.parametrize("part", ["linear_2.weight", "embed_tokens", "k_proj.weight"])
def test_damaged_weight(
    source: Path, part: str, edit: Callable[[dict[str, Tensor], str], object], problem: str
) -> None:
    name = name_of(source, part)
    change(source, lambda weights: edit(weights, name))
    with pytest.raises(ModelError, match=rf"^model {source}: \S+{part.split('.', maxsplit=1)[0]}\S* {problem}"):
        load(source)


def test_tied_head_may_be_absent(tmp_path: Path) -> None:
    loaded = load("people:vanilla", device="cpu")
    source = save(loaded, tmp_path / "model")
    assert not any("lm_head" in name for name in load_file(source / WEIGHTS))
    load(source)
    change(source, lambda weights: weights.pop(next(name for name in weights if "embed_tokens" in name)))
    with pytest.raises(ModelError, match="lacks 2 of its weights .*embed_tokens"):
        load(source)


def test_unused_tensor_is_named(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(source, lambda weights: weights.update({"value_head.weight": torch.zeros(2)}))
    with caplog.at_level(logging.WARNING, "mmunlearner"):
        load(source)
    assert "1 of its tensors are not used (value_head.weight)" in caplog.text


@pytest.mark.parametrize("layers", [0, 1])
@pytest.mark.parametrize("stack", ["text_config", "vision_config"])
def test_configuration_with_fewer_layers(source: Path, stack: str, layers: int) -> None:
    config = json.loads((source / "config.json").read_text())
    config[stack]["num_hidden_layers"] = layers
    config["vision_feature_layer"] = -1
    (source / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"weights of layers that its config\.json leaves out \(\S*layers\.\d\."):
        load(source)


def test_no_report_of_transformers(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(source, lambda weights: weights.clear())
    with pytest.raises(ModelError) as error:
        load(source)
    assert "\n" not in str(error.value)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_language_model_alone_is_named(tmp_path: Path) -> None:
    LlamaConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    for read in (load, load_skeleton, meta_model):
        with pytest.raises(ModelError, match="llama is a language model without a vision part; name a vision-language"):
            read(tmp_path)
