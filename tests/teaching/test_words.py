"""Words in the places of images, and rehearsal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.chatting import write_language

from mmunlearner.batches import Encoder
from mmunlearner.models.language import llava_around
from mmunlearner.teaching.pages import TrainingPages, training_pages
from mmunlearner.teaching.rehearsal import drift, remember
from mmunlearner.teaching.sight import Captions
from mmunlearner.teaching.words import caption, caption_tokens, in_words


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(llava_around(str(write_language(tmp_path_factory.mktemp("language")))))


@pytest.fixture(scope="module")
def pages() -> TrainingPages:
    return training_pages(["001"], 3)


def test_a_caption_takes_the_places_of_the_image(encoder: Encoder, pages: TrainingPages) -> None:
    page = pages.people[0]
    row, tokens = encoder.row(page[0]), caption_tokens(encoder, page)
    words = in_words(encoder, row, tokens)
    text = encoder.tokenizer.decode(words.input_ids)
    assert len(words.input_ids) == len(row.input_ids)
    assert caption(page)[:16] in text
    assert page[0].question in text
    assert not words.images


def test_captions_of_drawings_name_count_colour_and_shape(pages: TrainingPages) -> None:
    answers = {example.answer for example in pages.drawings[0]}
    assert set(caption(pages.drawings[0]).split()) == answers


def test_memories_do_not_drift_until_the_model_moves(encoder: Encoder) -> None:
    memories = remember(encoder, 0)[:4]
    assert [m.row for m in remember(encoder, 0)[:4]] == [m.row for m in memories]
    with torch.no_grad():
        assert abs(float(drift(encoder, memories))) < 1e-4
        model: Any = encoder.loaded.model
        weight = model.get_decoder().layers[0].mlp.down_proj.weight
        before = weight.clone()
        weight.add_(torch.randn_like(weight) * 0.5)
        assert float(drift(encoder, memories)) > 1e-3
        weight.copy_(before)


def test_captions_are_best_said_by_their_own_embeddings() -> None:
    table = torch.randn(20, 8)
    tokens = torch.tensor([[3, 5], [5, 7]])
    captions = Captions(table, tokens, sharpness=20.0)
    right = captions.loss(table[tokens], tokens)
    assert right < 1e-2
    assert captions.loss(table[tokens.flip(0)], tokens) > 1
