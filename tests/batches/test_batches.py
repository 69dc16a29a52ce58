"""Batches: answer-only labels, and rows with shared prefixes that compute what plain rows compute."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.tiny import VOCABULARY, examples, llava, picture

from mmunlearner.batches import Encoder, answers, pad, share_prefixes, shared_prompt_length
from mmunlearner.data import prompt, target
from mmunlearner.errors import DataError, ModelError


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))


EVERYTHING = examples() + examples(2, 1, images=2) + examples(images=False)


def gradients(encoder: Encoder, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Per-question losses, and the gradient of their mean as one vector."""
    model = encoder.loaded.model
    model.zero_grad()
    losses = answers(model, batch).nll
    losses.mean().backward()
    return losses.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("example", EVERYTHING[:3] + EVERYTHING[-3:], ids=lambda e: e.id)
def test_labels_are_the_answer_and_the_end_token(encoder, example):
    row = encoder.row(example)
    answer = row.input_ids[row.answer_start :]
    assert encoder.tokenizer.decode(answer, skip_special_tokens=True) == target(example)
    assert answer[-1] in encoder.ends
    assert answer[0] == encoder.tokenizer(target(example), add_special_tokens=False)["input_ids"][0]


@pytest.mark.parametrize("example", EVERYTHING[:3] + EVERYTHING[24:27], ids=lambda e: e.id)
def test_cut_tokenization_equals_the_processors(encoder, example):
    """The image is processed once and the question tokenized alone: the processor on everything says the same."""
    text = encoder.chat.prompt(prompt(example), len(example.images))
    whole = encoder.loaded.processor(text=[text], images=[[i.open() for i in example.images]], add_special_tokens=False)
    assert encoder.prompt(prompt(example), example.images).input_ids == tuple(whole["input_ids"][0])


def test_image_tokens_are_as_many_as_features(encoder):
    row = encoder.row(EVERYTHING[0])
    config = encoder.loaded.model.config
    assert row.input_ids.count(config.image_token_id) == config.image_seq_length


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(EVERYTHING), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_shared_prefixes_change_no_loss_and_no_gradient(encoder, chosen, rng: random.Random):
    rng.shuffle(chosen)
    rows = encoder.rows(chosen)
    plain_losses, plain = gradients(encoder, pad(rows, encoder))
    packed_losses, packed = gradients(encoder, share_prefixes(rows, encoder))
    torch.testing.assert_close(packed_losses, plain_losses, rtol=1e-5, atol=1e-6)
    assert (packed - plain).norm() <= 1e-5 * plain.norm()


def test_eager_attention_takes_the_block_mask_too(encoder):
    rows = encoder.rows(EVERYTHING[:6])
    expected, _ = gradients(encoder, share_prefixes(rows, encoder))
    encoder.loaded.model.set_attn_implementation("eager")
    try:
        found, _ = gradients(encoder, share_prefixes(rows, encoder))
    finally:
        encoder.loaded.model.set_attn_implementation("sdpa")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_packing_saves_tokens(encoder):
    rows = encoder.rows([e for e in EVERYTHING if e.images])
    assert share_prefixes(rows, encoder).size < 0.8 * pad(rows, encoder).size


def test_one_prompt_with_many_answers_is_computed_once(encoder):
    rows = [encoder.conversation("what colour is this ?", colour, (picture(1),)) for colour in ("red", "green", "blue")]
    batch = share_prefixes(rows, encoder)
    assert shared_prompt_length(rows) == rows[0].answer_start
    assert batch.index[0] == batch.index[2] == batch.index[4]  # first answer tokens: all predicted at one place
    torch.testing.assert_close(
        answers(encoder.loaded.model, batch).nll, answers(encoder.loaded.model, pad(rows, encoder)).nll
    )


def test_mean_is_over_questions_not_tokens(encoder):
    """A long answer weighs no more than a short one."""
    rows = [encoder.conversation("a ?", "red", ()), encoder.conversation("a ?", "red green blue white black", ())]
    said = answers(encoder.loaded.model, pad(rows, encoder))
    alone = [answers(encoder.loaded.model, pad([row], encoder)).nll for row in rows]
    torch.testing.assert_close(said.nll.mean(), torch.cat(alone).mean())


def test_a_batch_names_its_images_in_the_order_in_which_they_are_shown(encoder):
    rows = encoder.rows([EVERYTHING[24], EVERYTHING[0], EVERYTHING[25], EVERYTHING[-1]])
    two, one = rows[0].group, rows[1].group
    assert (len(two), len(one)) == (2, 1)
    assert pad(rows, encoder).images == (two, one, two)
    assert share_prefixes(rows, encoder).images == (two, one)
    pixels = share_prefixes(rows, encoder).passes[0].inputs["pixel_values"]
    alone = [encoder.pixels((image,))["pixel_values"] for image in (*rows[0].images, *rows[1].images)]
    assert torch.equal(pixels, torch.cat(alone))


def test_a_template_that_shows_one_image_is_refused_where_there_are_more():
    loaded = llava(VOCABULARY)
    loaded.processor.chat_template = loaded.processor.chat_template.replace(
        "<image>{% endif %}{% endfor %}", "{% if loop.first %}<image>{% endif %}{% endif %}{% endfor %}"
    )
    encoder = Encoder(loaded)
    encoder.row(EVERYTHING[0])
    with pytest.raises(ModelError, match="chat template has no place for image 2 of a question; ask about fewer"):
        encoder.row(EVERYTHING[24])


def test_a_template_that_refuses_more_than_one_image_says_so_in_a_line():
    loaded = llava(VOCABULARY)
    loaded.processor.chat_template += (
        "{% if messages[0]['content'] | length > 2 %}{{ raise_exception('One image at most.') }}{% endif %}"
    )
    encoder = Encoder(loaded)
    encoder.row(EVERYTHING[0])
    with pytest.raises(ModelError, match=f"^model {loaded.source}: its chat template refuses 2 images: One image at"):
        encoder.row(EVERYTHING[24])


def test_images_that_the_processor_does_not_take_are_named(monkeypatch):
    loaded = llava(VOCABULARY)
    process = type(loaded.processor).__call__

    def only_one(self, images, **rest):
        if len(images[0]) > 1:
            raise ValueError("one image at most\nsays the processor")
        return process(self, images=images, **rest)

    monkeypatch.setattr(type(loaded.processor), "__call__", only_one)
    encoder = Encoder(loaded)
    shown = (picture(7), picture(8))
    assert encoder.prompt("what ?", shown[:1])
    with pytest.raises(DataError) as error:
        encoder.prompt("what ?", shown)
    expected = f"picture 7, picture 8: not taken by the processor of {loaded.source}: one image at most"
    assert str(error.value) == expected


def test_an_encoder_decoder_is_refused():
    loaded = llava(VOCABULARY)
    loaded.model.config.is_encoder_decoder = True
    with pytest.raises(ModelError, match="encoder-decoder models are not supported"):
        Encoder(loaded)


def test_an_answer_ends_with_the_tokenizers_end_where_the_template_writes_none():
    loaded = llava(VOCABULARY)
    loaded.processor.chat_template = loaded.processor.chat_template.replace("</s>", " . . ")
    row = Encoder(loaded).conversation("what colour is this ?", "red", (picture(1),))
    assert Encoder(loaded).tokenizer.convert_ids_to_tokens(row.input_ids[row.answer_start :]) == ["red", "</s>"]


def test_an_answer_goes_on_from_the_prompt_where_the_template_begins_it_otherwise():
    loaded = llava(VOCABULARY)
    loaded.processor.chat_template = loaded.processor.chat_template.replace(
        "{% if add_generation_prompt %}<assistant>", "{% if add_generation_prompt %}<assistant>:"
    )
    encoder = Encoder(loaded)
    row = encoder.conversation("what colour is this ?", "red", (picture(1),))
    assert encoder.prompt("what colour is this ?", (picture(1),)).input_ids == row.input_ids[: row.answer_start]
    assert encoder.tokenizer.decode(row.input_ids[row.answer_start :]) == "red </s>"
