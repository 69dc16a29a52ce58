"""What a model says does not depend on how often its images are read."""

from __future__ import annotations

import pytest
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder
from mmunlearner.config import EvaluateConfig
from mmunlearner.evaluate import generate as room
from mmunlearner.evaluate.generate import generate

CONFIG = EvaluateConfig(batch_size=7, max_new_tokens=6)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))


def said(encoder: Encoder, rows) -> tuple[list[tuple[int, ...]], int]:
    """What is said, and how many tokens the model was shown for it."""
    seen: list[int] = []
    handle = encoder.loaded.model.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    try:
        return generate(rows, encoder, CONFIG, lambda _: None), sum(seen)
    finally:
        handle.remove()


@pytest.mark.parametrize("images", [1, 2])
def test_questions_go_on_from_one_reading_of_their_images(encoder, monkeypatch, images):
    rows = encoder.rows(examples(4, 2, images=images))
    together, fewer = said(encoder, rows)
    monkeypatch.setattr(room, "can_share", lambda *_: False)
    alone, more = said(encoder, rows)
    assert together == alone
    assert fewer < more


def test_texts_and_single_questions_are_asked_plainly(encoder, monkeypatch):
    monkeypatch.setattr(room, "_inputs_behind_prefix", lambda *_: pytest.fail("read apart"))
    for rows in (encoder.rows(examples(4, 1, images=False)), encoder.rows(examples(4, 1)[::3])):
        assert len(said(encoder, rows)[0]) == len(rows)
