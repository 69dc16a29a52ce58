"""Adapters of peft are merged once, into the base that they name; what is saved afterwards is a whole model."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.errors import ConfigError, ModelError
from mmunlearner.models import load, load_skeleton, save

LINEAR = ["q_proj", "down_proj", "linear_1"]
KINDS = {
    "lora": peft.LoraConfig(r=4, lora_alpha=8, target_modules=LINEAR),
    "rslora on all": peft.LoraConfig(r=4, use_rslora=True, target_modules="all-linear"),
    "dora": peft.LoraConfig(r=4, use_dora=True, target_modules=LINEAR),
    "with whole modules": peft.LoraConfig(r=2, target_modules=["v_proj"], modules_to_save=["multi_modal_projector"]),
    "with biases": peft.LoraConfig(r=2, target_modules=["v_proj", "fc1"], bias="lora_only"),
    "loha": peft.LoHaConfig(r=2, target_modules=LINEAR),
    "ia3": peft.IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "head": peft.LoraConfig(r=4, target_modules=["lm_head"]),
}
FILE = "adapter_model.safetensors"
QUESTIONS = examples(2, 1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(llava(VOCABULARY), tmp_path_factory.mktemp("base") / "model")


def log_probabilities(loaded: Any) -> torch.Tensor:
    encoder = Encoder(loaded)
    with torch.no_grad():
        return answers(loaded.model, share_prefixes(encoder.rows(QUESTIONS), encoder)).logps


def adapt(base: Path, folder: Path, config: Any) -> torch.Tensor:
    """Write a trained adapter of the base to a folder; return what the adapted model answers."""
    loaded = load(base, device="cpu", attention="sdpa")
    adapted = peft.get_peft_model(loaded.model, deepcopy(config))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return log_probabilities(loaded)


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    adapt(base, tmp_path / "adapter", KINDS["lora"])
    return tmp_path / "adapter"


@pytest.mark.parametrize("kind", KINDS)
def test_merged_model_answers_as_the_adapted_one(base: Path, tmp_path: Path, kind: str) -> None:
    expected = adapt(base, tmp_path / "adapter", KINDS[kind])
    loaded = load(tmp_path / "adapter", device="cpu", attention="sdpa")
    torch.testing.assert_close(log_probabilities(loaded), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, log_probabilities(load(base, device="cpu")), atol=1e-3)
    whole = load(save(loaded, tmp_path / "whole"), device="cpu", attention="sdpa")
    assert torch.equal(log_probabilities(whole), log_probabilities(loaded))
    assert not list((tmp_path / "whole").glob("adapter*"))
    names = [name for name, _ in load(base, device="cpu").model.named_parameters()]
    assert [name for name, p in loaded.model.named_parameters() if p.requires_grad] == names


def test_rows_without_weights(adapter: Path, base: Path) -> None:
    rows = [Encoder(read(source)).rows(QUESTIONS) for read in (load, load_skeleton) for source in (adapter, base)]
    assert all(some == rows[0] for some in rows)


def test_beside_whole_weights(adapter: Path, base: Path) -> None:
    shutil.copytree(base, adapter, dirs_exist_ok=True)
    for read in (load, load_skeleton):
        with pytest.raises(ModelError, match=r"has an adapter .* beside whole weights \(model\.safetensors\)"):
            read(adapter)


def test_with_a_configuration_of_its_own(adapter: Path, base: Path) -> None:
    """Many adapters lie beside the base's config.json and processor, without its weights."""
    expected = log_probabilities(load(adapter, device="cpu"))
    for path in base.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, adapter)
    loaded = load(adapter, device="cpu")
    assert torch.equal(log_probabilities(loaded), expected)


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
def test_lacking_numbers(adapter: Path, part: str) -> None:
    weights = load_file(adapter / FILE)
    del weights[next(name for name in weights if part in name)]
    save_file(weights, adapter / FILE)
    with pytest.raises(ModelError, match=rf"the adapter lacks \S*{part}\S* \(1 such\)"):
        load(adapter)


def test_lacking_whole_module(base: Path, tmp_path: Path) -> None:
    adapt(base, tmp_path / "adapter", KINDS["with whole modules"])
    weights = load_file(tmp_path / "adapter" / FILE)
    del weights[next(name for name in weights if "linear_2" in name)]
    save_file(weights, tmp_path / "adapter" / FILE)
    with pytest.raises(ModelError, match=r"cannot be loaded .KeyError: \S*linear_2"):
        load(tmp_path / "adapter")


def test_numbers_that_fit_nowhere(adapter: Path) -> None:
    """As after training on a base with more layers."""
    weights = load_file(adapter / FILE)
    name = next(name for name in weights if "layers.1." in name)
    save_file({**weights, name.replace("layers.1.", "layers.7."): weights[name].clone()}, adapter / FILE)
    with pytest.raises(ModelError, match=r"has numbers that fit nowhere in its base: \S*layers\.7\."):
        load(adapter)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"base_model_name_or_path": None}, "names no base_model_name_or_path; write it there"),
        ({"base_model_name_or_path": "/no/such/folder"}, "the base of its adapter: model /no/such/folder: no such dir"),
        ({"base_model_name_or_path": "a\0b"}, "the base of its adapter: model .* NUL"),
        ({"target_modules": ["nothing"]}, "cannot be loaded .Target modules"),
        ({"r": 3}, "cannot be loaded"),
        ({"peft_type": "UNHEARD"}, "cannot be loaded"),
        ({"peft_type": 7}, "cannot be loaded"),
    ],
    ids=str,
)
def test_wrong_configuration(adapter: Path, change: dict[str, Any], problem: str) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=rf"^model {adapter}: .*{problem}"):
        load(adapter)


def test_adapter_of_an_adapter(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "second")
    path = tmp_path / "second" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(adapter)}))
    with pytest.raises(ModelError, match="has an adapter too; merge that one first"):
        load(tmp_path / "second")


def test_pickled_adapter(adapter: Path) -> None:
    torch.save(load_file(adapter / FILE), adapter / "adapter_model.bin")
    (adapter / FILE).unlink()
    with pytest.raises(ModelError, match="its adapter has no adapter_model.safetensors; other files"):
        load(adapter)


def test_prompts_cannot_be_merged(base: Path, tmp_path: Path) -> None:
    adapted = peft.get_peft_model(
        load(base).model, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    adapted.save_pretrained(str(tmp_path / "adapter"))
    with pytest.raises(ModelError, match="has no weights of its base to be added to, so that it cannot be merged"):
        load(tmp_path / "adapter")


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")
def test_tied_weights_cannot_be_merged(tmp_path: Path) -> None:
    """In the base, the head is the embedding too, which the adapter did not train."""
    base = save(load("people:vanilla"), tmp_path / "base")
    adapted = peft.get_peft_model(load(base).model, deepcopy(KINDS["head"]))
    adapted.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=False)
    with pytest.raises(ModelError, match="on weights that two layers share"):
        load(tmp_path / "adapter")


def test_few_bits(adapter: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.quantize nf4: .* is an adapter"):
        load(adapter, quantize="nf4")
