"""Questions of a person: answered as an evaluation answers them, with the likelihoods that rows of their own have."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder
from mmunlearner.config import EvaluateConfig
from mmunlearner.data import ImageRef, prompt
from mmunlearner.errors import DataError
from mmunlearner.evaluate import Reply, inquiry, replies
from mmunlearner.evaluate.generate import generate
from mmunlearner.evaluate.likelihood import LikelihoodScorer, row_key

CONFIG = EvaluateConfig(max_new_tokens=6)
ITEMS = [*examples(2, 2), *examples(2, 1, images=False)]
OPTIONS = [item.answer for item in ITEMS]


@pytest.fixture(scope="module")
def model():
    return llava(VOCABULARY)


def test_answers_are_generated_ones(model) -> None:
    """With options or without, whatever they are."""
    encoder = Encoder(model)
    rows = [encoder.prompt(prompt(item), item.images) for item in ITEMS]
    decode = encoder.tokenizer.decode
    plain = [decode(list(tokens), skip_special_tokens=True).strip() for tokens in generate(rows, encoder, CONFIG)]
    inquiries = [inquiry(prompt(item), item.images) for item in ITEMS]
    for options in ((), OPTIONS[:1], OPTIONS):
        assert [reply.answer for reply in replies(model, inquiries, options, config=CONFIG)] == plain


def test_likelihoods(model) -> None:
    """Each option's is that of its own row, scored alone."""
    encoder = Encoder(model)
    for item, reply in zip(ITEMS, replies(model, ITEMS, OPTIONS, config=CONFIG), strict=True):
        assert list(reply.options) == list(dict.fromkeys(OPTIONS))
        for option, logp in reply.options.items():
            row = encoder.conversation(prompt(item), option, item.images)
            [alone] = LikelihoodScorer(encoder).score([row]).values()
            assert logp == pytest.approx(sum(alone.logps), abs=1e-4), row_key(row)


@given(st.dictionaries(st.text(), st.floats(-5000, 0), min_size=1))
def test_shares(options: dict[str, float]) -> None:
    """They add up to one and keep the order, also where every likelihood is too small for a float."""
    shares = Reply("", options).shares
    assert math.isclose(sum(shares.values()), 1)
    ordered = [shares[option] for option in sorted(options, key=lambda option: options[option])]
    assert ordered == sorted(ordered)


def test_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="the question is empty"):
        inquiry("\n")
    text = tmp_path / "note.png"
    text.write_text("no picture")
    with pytest.raises(DataError, match=r"^picture .*note\.png"):
        inquiry("Who?", [ImageRef(str(text))])
