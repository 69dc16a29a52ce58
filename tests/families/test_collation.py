"""What a model of each family is given: answers alone are labels, and no image token is lost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from families.questions import FEW, SIZES, conversations, picture, pictures, said
from hypothesis import given, settings
from hypothesis import strategies as st

from mmunlearner.batches import Encoder, answers, pad, prompt_inputs
from mmunlearner.batches.padding import compatible_rows, pad_right, padded_inputs
from mmunlearner.data import ImageRef
from mmunlearner.errors import DataError

FEWER = settings(max_examples=12)


@FEWER
@given(question=said, answer=said, images=pictures)
def test_labels(encoder, question, answer, images):
    row = encoder.conversation(question, answer, images)
    labels = row.input_ids[row.answer_start :]
    assert encoder.tokenizer.decode(labels[:-1], skip_special_tokens=False).strip() == answer
    assert [token in encoder.ends for token in labels] == [False] * (len(labels) - 1) + [True]


@FEWER
@given(question=said, answer=said, images=pictures)
def test_answer_stands_behind_the_prompt(encoder, question, answer, images):
    """What stands before the labels is the prompt that the model gets when it is asked."""
    row, asked = encoder.conversation(question, answer, images), encoder.prompt(question, images)
    assert row.input_ids[: row.answer_start] == asked.input_ids
    assert all(len(values) == len(row.input_ids) for values in row.fields.values())


@FEWER
@given(question=said, images=pictures.filter(bool))
def test_tokens_equal_the_processors(encoder, question, images):
    """Images are processed once and the question tokenized alone: the processor on everything says the same."""
    asked = encoder.prompt(question, images)
    whole = encoder.processor.process(encoder.chat.prompt(question, len(images)), images)
    assert asked.input_ids == whole.ids
    assert asked.fields.keys() == whole.fields.keys()
    for name, values in whole.fields.items():
        assert torch.equal(asked.fields[name], values)


@pytest.mark.parametrize("seeds", [*[(seed,) for seed in range(len(SIZES))], (0, 1), (5, 3, 3)], ids=str)
def test_image_tokens_match_features(encoder, seeds):
    """For every shape of picture, and for several; a model that reads images by cross-attention has one token for each
    instead.
    """
    shown = tuple(map(picture, seeds))
    model = encoder.loaded.model
    row = encoder.prompt("What colour is this?", shown)
    tokens = row.input_ids.count(model.config.image_token_id)
    if "cross_attention_mask" in row.fields:
        assert tokens == len(seeds)
        assert row.fields["cross_attention_mask"].any()
        return
    with torch.no_grad():
        features = model.get_image_features(**encoder.pixels(shown), return_dict=True).pooler_output
    shown = torch.cat([each.flatten(0, -2) for each in features]) if isinstance(features, list | tuple) else features
    assert tokens == shown.flatten(0, -2).shape[0]
    assert tokens > 0


@FEWER
@given(asked=st.lists(st.tuples(said, pictures.filter(bool)), min_size=1, max_size=5))
def test_batch_equals_the_processors(encoder, asked):
    """Rows of any number of images: each row's own tensors, joined, are those of the processor for all of them."""
    rows = [encoder.prompt(*each) for each in asked]
    for some in compatible_rows(rows):
        joined = padded_inputs([rows[i] for i in some], encoder, pad_right)
        whole = processed(encoder, [asked[i] for i in some])
        real = joined["attention_mask"].bool()
        assert joined.keys() == whole.keys() & encoder.processor.model_inputs - {"labels"}
        for name, values in joined.items():
            found, expected = (v[real] if v.shape[:2] == real.shape else v for v in (values, whole[name]))
            assert torch.equal(found, expected), name


def processed(encoder: Encoder, asked: Sequence[tuple[str, tuple[ImageRef, ...]]]) -> Mapping[str, torch.Tensor]:
    """By the family's own processor, all at once."""
    texts = [encoder.chat.prompt(question, len(images)) for question, images in asked]
    return encoder.loaded.processor(
        text=texts,
        images=[[image.open() for image in images] for _, images in asked],
        return_tensors="pt",
        padding=True,
        padding_side="right",
        add_special_tokens=not encoder.processor.begins_itself(texts[0]),
    )


@settings(max_examples=6)
@given(asked=conversations)
def test_batch_equals_single_rows(encoder, asked):
    """Images of all shapes, texts, and both beside each other, padded on the right."""
    rows = [encoder.conversation(*each) for each in asked]
    model = encoder.loaded.model
    with torch.no_grad():
        together = answers(model, pad(rows, encoder))
        alone = [answers(model, pad([row], encoder)) for row in rows]
    assert together.tokens.tolist() == [token for row in rows for token in row.input_ids[row.answer_start :]]
    assert together.question.tolist() == [i for i, row in enumerate(rows) for _ in row.input_ids[row.answer_start :]]
    torch.testing.assert_close(together.nll, torch.cat([one.nll for one in alone]), rtol=1e-4, atol=1e-5)


def test_padding_sides(encoder):
    rows = [encoder.conversation(*each) for each in FEW]
    for each in pad(rows, encoder).passes:
        assert each.inputs["attention_mask"].diff().max() <= 0
    for some in compatible_rows(rows):
        inputs = prompt_inputs([rows[i] for i in some], encoder)
        assert inputs["attention_mask"].diff().min() >= 0
        for ids, mask, i in zip(inputs["input_ids"], inputs["attention_mask"], some, strict=True):
            row = rows[i]
            assert tuple(ids[mask.bool()].tolist()) == row.input_ids[: row.answer_start]


def test_long_row_is_an_error(family):
    """Its image tokens would be the first to be missed."""
    config = family.model.config.get_text_config()
    limit = config.max_position_embeddings
    config.max_position_embeddings = 24
    try:
        with pytest.raises(
            DataError, match=r"tokens, \d+ of them of its images; the model takes 24, and nothing is cut"
        ):
            Encoder(family).conversation("What colour is this hat ? " * 4, "red", (picture(3), picture(0)))
    finally:
        config.max_position_embeddings = limit


def test_special_token_in_a_text(encoder):
    """A placeholder that a data set has left in its questions would be taken for a second image."""
    for token in (encoder.loaded.processor.image_token, encoder.tokenizer.eos_token):
        for question, answer in ((f"{token} What is it?", "red"), ("What is it?", f"red {token}")):
            with pytest.raises(DataError, match=f"has {re.escape(token)} in it, a control token"):
                encoder.conversation(question, answer, (picture(0),))


def test_no_template(family):
    from copy import copy

    from mmunlearner.errors import ModelError

    bare = copy(family.processor)
    bare.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        Encoder(replace(family, processor=bare))
