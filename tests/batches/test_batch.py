"""Batches: plain, with shared prefixes, as a tree. That all three predict the same is shown in tests/families."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import COLOURS, examples, picture

from mmunlearner.batches import (
    Encoder,
    answers,
    common_prefix_length,
    pad,
    prompt_inputs,
    share_prefixes,
    shared_prompt_length,
    tree,
)
from mmunlearner.batches.prefix import ancestor_mask
from mmunlearner.errors import ModelError

ONE, TWO, TEXTS = examples(), examples(2, 1, images=2), examples(images=False)


def test_sharing_saves_tokens(encoder: Encoder) -> None:
    rows = encoder.rows([*ONE, *TWO])
    assert share_prefixes(rows, encoder).size < 0.8 * pad(rows, encoder).size


def test_several_answers_to_one_prompt(encoder: Encoder) -> None:
    rows = [encoder.conversation("what colour is this ?", colour, (picture(1),)) for colour in COLOURS[:3]]
    batch = share_prefixes(rows, encoder)
    assert shared_prompt_length(rows) == rows[0].answer_start
    assert batch.index[0] == batch.index[2] == batch.index[4]  # first answer tokens: all predicted at one position
    model = encoder.loaded.model
    torch.testing.assert_close(answers(model, batch).nll, answers(model, pad(rows, encoder)).nll)


def test_mean_over_questions(encoder: Encoder) -> None:
    """A long answer weighs no more than a short one."""
    model = encoder.loaded.model
    rows = [encoder.conversation("a ?", "red", ()), encoder.conversation("a ?", "red green blue white black", ())]
    alone = [answers(model, pad([row], encoder)).nll for row in rows]
    torch.testing.assert_close(answers(model, pad(rows, encoder)).nll.mean(), torch.cat(alone).mean())


def test_order_of_images(encoder: Encoder) -> None:
    rows = encoder.rows([TWO[0], ONE[0], TWO[1], TEXTS[-1]])
    two, one = rows[0].group, rows[1].group
    assert (len(two), len(one)) == (2, 1)
    assert pad(rows, encoder).images == (two, one, two)
    batch = share_prefixes(rows, encoder)
    assert batch.images == (two, one)
    alone = [encoder.pixels((image,))["pixel_values"] for image in (*rows[0].images, *rows[1].images)]
    assert torch.equal(batch.passes[0].inputs["pixel_values"], torch.cat(alone))


def test_eager_attention(encoder: Encoder) -> None:
    model, batch = encoder.loaded.model, share_prefixes(encoder.rows(ONE[:6]), encoder)
    expected = answers(model, batch).nll
    model.set_attn_implementation("eager")
    try:
        found = answers(model, batch).nll
    finally:
        model.set_attn_implementation("sdpa")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_tree_holds_each_common_prefix_once(encoder: Encoder) -> None:
    rows = [encoder.conversation("what colour is ann ?", answer, ()) for answer in ("it is red", "it is blue", "red")]
    assert tree([rows], encoder).size == rows[0].answer_start + len(["it", "is", "red", "blue", "red"])


def test_token_sees_its_ancestors() -> None:
    #        a b c d e    a -> (b -> c), (d -> e)
    ends = [[5, 3, 3, 5, 5]]
    visible = ancestor_mask(torch.tensor(ends))[0, 0].int().tolist()
    assert visible == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 1, 1]]


def test_prompts_are_padded_on_the_left(encoder: Encoder) -> None:
    rows = encoder.rows(examples(2, 1))
    inputs = prompt_inputs(rows, encoder)
    for ids, mask, row in zip(inputs["input_ids"], inputs["attention_mask"], rows, strict=True):
        assert tuple(ids[mask.bool()].tolist()) == row.input_ids[: row.answer_start]
        assert mask[-1] == 1
        assert mask.diff().min() >= 0  # padding first


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_common_prefix_is_the_longest(a: list[int], b: list[int]) -> None:
    length = common_prefix_length(a, b)
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]


def test_a_processor_of_another_model_is_told(encoder: Encoder) -> None:
    batch = pad(encoder.rows(ONE[:1]), encoder)
    inputs = batch.passes[0].inputs
    inputs["pixel_values"] = inputs["pixel_values"][..., :-8, :-8]
    with pytest.raises(
        ModelError, match=r"LlavaForConditionalGeneration does not take what its processor gives \(.*size"
    ):
        answers(encoder.loaded.model, batch)
