"""What a model says does not depend on how often its images are read."""

from __future__ import annotations

import pytest
import torch
from tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder
from mmunlearner.config import EvaluateConfig
from mmunlearner.evaluate.generate import Speaker

CONFIG = EvaluateConfig(batch_size=7, max_new_tokens=6)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))


def tokens(encoder: Encoder, speaker: Speaker, rows) -> tuple[list[tuple[int, ...]], int]:
    """What is said, and how many tokens the model was shown for it."""
    seen: list[int] = []
    handle = encoder.loaded.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    try:
        return speaker.say(rows, lambda _: None), sum(seen)
    finally:
        handle.remove()


def test_questions_go_on_from_one_reading_of_their_image(encoder):
    rows = encoder.rows(examples(4, 2))
    sharing, plain = Speaker(encoder, CONFIG), Speaker(encoder, CONFIG)
    plain.shares = False
    first = sharing.say(rows, lambda _: None)
    assert sharing.shares is True
    again, fewer = tokens(encoder, sharing, rows)
    alone, more = tokens(encoder, plain, rows)
    assert first == again == alone
    assert fewer < more


def test_texts_and_single_questions_are_asked_plainly(encoder):
    speaker = Speaker(encoder, CONFIG)
    texts, single = encoder.rows(examples(4, 1, images=False)), encoder.rows(examples(4, 1)[::3])
    assert len(speaker.say(texts, lambda _: None)) == len(texts)
    assert len(speaker.say(single, lambda _: None)) == len(single)
    assert speaker.shares is None  # never tried


def test_a_family_that_answers_otherwise_is_asked_plainly(encoder, monkeypatch):
    """Positions that start anew behind the image, say."""
    rows = encoder.rows(examples(4, 2))
    plain = Speaker(encoder, CONFIG)
    plain.shares = False
    own = Speaker._read

    def other(self, rows, shared):
        inputs = own(self, rows, shared)
        return {**inputs, "input_ids": torch.full_like(inputs["input_ids"], 5)}

    monkeypatch.setattr(Speaker, "_read", other)
    speaker = Speaker(encoder, CONFIG)
    assert speaker.say(rows, lambda _: None) == plain.say(rows, lambda _: None)
    assert speaker.shares is False
