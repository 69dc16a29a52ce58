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


def answers_and_cost(encoder: Encoder, rows) -> tuple[list[tuple[int, ...]], int]:
    """Return the answers, and the number of tokens that the model read for them."""
    sizes: list[int] = []
    handle = encoder.loaded.model.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    try:
        return generate(rows, encoder, CONFIG), sum(sizes)
    finally:
        handle.remove()


@pytest.mark.parametrize("images", [1, 2])
def test_questions_go_on_from_one_reading_of_their_images(encoder, monkeypatch, images):
    rows = encoder.rows(examples(4, 2, images=images))
    shared, fewer = answers_and_cost(encoder, rows)
    monkeypatch.setattr(room, "can_share", lambda *_: False)
    separate, more = answers_and_cost(encoder, rows)
    assert shared == separate
    assert fewer < more


def test_texts_and_single_questions_are_asked_plainly(encoder, monkeypatch):
    monkeypatch.setattr(room, "_inputs_behind_prefix", lambda *_: pytest.fail("read apart"))
    for rows in (encoder.rows(examples(4, 1, images=False)), encoder.rows(examples(4, 1)[::3])):
        assert len(answers_and_cost(encoder, rows)[0]) == len(rows)
