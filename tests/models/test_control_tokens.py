"""Control tokens: those of the tokenizer, of the configuration and of the generation config."""

from __future__ import annotations

import pytest
from families.zoo import FAMILIES
from support.tiny import VOCABULARY, llava
from tokenizers import AddedToken

from mmunlearner.models import Loaded, control_tokens


@pytest.fixture
def loaded() -> Loaded:
    return llava(VOCABULARY)


def token_id(loaded: Loaded, token: str) -> int:
    return loaded.processor.tokenizer.convert_tokens_to_ids(token)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_familys_image_token(name: str) -> None:
    model, processor = FAMILIES[name]()
    tokens = control_tokens(Loaded(model, processor, name))
    assert {*processor.tokenizer.all_special_tokens, processor.image_token} <= tokens.special
    assert not any(tokens.first(text, answer=True) for text in ("Ada Lovelace", "What is 3 < 4?", 'a_b [x] #1 "q"'))


def test_end_token_of_the_generation_config_alone(loaded: Loaded) -> None:
    """An added token ends an answer wherever it stands; an ordinary word is a word in questions."""
    loaded.processor.tokenizer.add_tokens([AddedToken("<|turn|>", special=False)])
    loaded.model.generation_config.eos_token_id = [2, token_id(loaded, "<|turn|>"), token_id(loaded, "hat")]
    tokens = control_tokens(loaded)
    assert tokens.first("a <|turn|> b") == "<|turn|>"
    assert tokens.first("a hat") == ""
    assert tokens.first("a hat", answer=True) == "hat"


def test_image_token_of_the_configuration_alone(loaded: Loaded) -> None:
    loaded.processor.tokenizer.add_tokens([AddedToken("[film]", special=False)])
    assert control_tokens(loaded).first("a [film]") == ""
    loaded.model.config.video_token_index = token_id(loaded, "[film]")
    assert control_tokens(loaded).first("a [film]") == "[film]"


def test_added_words_are_words(loaded: Loaded) -> None:
    loaded.processor.tokenizer.add_tokens(["Zanzibar"])
    assert control_tokens(loaded).first("of Zanzibar", answer=True) == ""


def test_longest_token_is_named(loaded: Loaded) -> None:
    loaded.processor.tokenizer.add_tokens([AddedToken("<s>x", special=True)])
    assert control_tokens(loaded).first("<s>x") == "<s>x"


def test_ids_outside_of_the_vocabulary(loaded: Loaded) -> None:
    loaded.model.generation_config.eos_token_id = [2, 10**6]
    loaded.model.config.audio_token_id = -1
    assert control_tokens(loaded).first("red") == ""
