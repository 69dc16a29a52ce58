"""Batches for inference predict what plain batches do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import COLOURS, VOCABULARY, examples, llava, picture

from mmunlearner.batches import Encoder, answers, common_prefix_length, encoding_cache, pad, prompt_inputs, tree
from mmunlearner.batches.prefix import ancestor_mask


@pytest.fixture(scope="module")
def encoder():
    return Encoder(llava(VOCABULARY))


def candidates(encoder, *, images):
    """Rows that part at the image, at the question and within the answer."""
    return [
        encoder.conversation(item.question, answer, item.images)
        for item in examples(3, 1, images=images)
        for answer in (*COLOURS[:3], f"it is {COLOURS[0]}", f"it is {COLOURS[1]}")
    ]


@given(picked=st.lists(st.tuples(st.integers(0, 44), st.integers(0, 2)), min_size=1, max_size=12))
def test_a_tree_of_rows_predicts_what_plain_batches_do(encoder, picked):
    rows = {images: candidates(encoder, images=images) for images in range(3)}
    groups: dict[tuple[str, ...], list] = {}
    for i, images in picked:
        row = rows[images][i]
        groups.setdefault(row.group, []).append(row)
    flat = [row for group in groups.values() for row in group]
    with torch.inference_mode():
        shared, plain = (
            answers(encoder.loaded.model, b) for b in (tree([*groups.values()], encoder), pad(flat, encoder))
        )
    assert shared.tokens.tolist() == plain.tokens.tolist()
    assert shared.question.tolist() == plain.question.tolist()
    torch.testing.assert_close(shared.logits, plain.logits, rtol=1e-5, atol=1e-5)


def test_a_tree_holds_every_common_beginning_once(encoder):
    rows = [encoder.conversation("what colour is ann ?", answer, ()) for answer in ("it is red", "it is blue", "red")]
    prompt = rows[0].answer_start
    assert tree([rows], encoder).size == prompt + len(["it", "is", "red", "blue", "red"])


def test_a_token_sees_its_own_path_alone():
    #        a b c d e    a -> (b -> c), (d -> e)
    ends = [[5, 3, 3, 5, 5]]
    seen = ancestor_mask(torch.tensor(ends))[0, 0].int().tolist()
    assert seen == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 1, 1]]


def test_prompts_are_padded_on_the_left(encoder):
    rows = [encoder.row(item) for item in examples(2, 1)]
    inputs = prompt_inputs(rows, encoder)
    for ids, mask, row in zip(inputs["input_ids"], inputs["attention_mask"], rows, strict=True):
        assert tuple(ids[mask.bool()].tolist()) == row.input_ids[: row.answer_start]
        assert mask[-1] == 1
        assert mask.diff().min() >= 0  # padding first


def test_encoders_of_equal_processors_share_what_is_encoded(encoder):
    item = examples(1, 1)[0]
    row = encoder.row(item)
    assert Encoder(llava(VOCABULARY, seed=1)).row(item) is row
    assert Encoder(llava(VOCABULARY + " more words")).row(item) is not row


def test_pixels_that_would_fill_the_memory_are_made_anew(encoder, monkeypatch):
    images = [item.images for item in examples(3, 1, seed=7)[::3]]
    before = [encoder.pixels(shown)["pixel_values"] for shown in images]
    monkeypatch.setattr(encoding_cache, "_PIXEL_BYTES", 2 * before[0].nbytes)
    for _ in range(2):
        for shown, pixels in zip(images, before, strict=True):
            assert torch.equal(encoder.pixels(shown)["pixel_values"], pixels)
            encoder.pixels((picture(1000 + len(images)),))
    assert len(encoder.cache.pixels) == 2


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_the_common_beginning_is_the_longest(a, b):
    length = common_prefix_length(a, b)
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]
