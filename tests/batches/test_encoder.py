"""Rows hold the prompt, the answer and its end; what cannot be asked is refused in one line."""

from __future__ import annotations

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava, picture

from mmunlearner.batches import Encoder, encoding_cache
from mmunlearner.data import target
from mmunlearner.errors import DataError, ModelError

ONE, TWO, TEXTS = examples(), examples(2, 1, images=2), examples(images=False)


@pytest.mark.parametrize("example", [*ONE[:3], *TEXTS[-3:]], ids=lambda e: e.id)
def test_answer_of_an_example(encoder: Encoder, example) -> None:
    row = encoder.row(example)
    assert encoder.tokenizer.decode(row.answer, skip_special_tokens=True) == target(example)
    assert row.answer[-1] in encoder.ends
    assert row.answer[0] == encoder.tokenizer(target(example), add_special_tokens=False)["input_ids"][0]


def test_template_for_one_image() -> None:
    loaded = llava(VOCABULARY)
    loaded.processor.chat_template = loaded.processor.chat_template.replace(
        "<image>{% endif %}{% endfor %}", "{% if loop.first %}<image>{% endif %}{% endif %}{% endfor %}"
    )
    encoder = Encoder(loaded)
    encoder.row(ONE[0])
    with pytest.raises(ModelError, match="chat template has no place for image 2 of a question; ask about fewer"):
        encoder.row(TWO[0])


def test_template_that_raises() -> None:
    loaded = llava(VOCABULARY)
    loaded.processor.chat_template += (
        "{% if messages[0]['content'] | length > 2 %}{{ raise_exception('One image at most.') }}{% endif %}"
    )
    encoder = Encoder(loaded)
    encoder.row(ONE[0])
    with pytest.raises(ModelError, match=f"^model {loaded.source}: its chat template refuses 2 images: One image at"):
        encoder.row(TWO[0])


def test_processor_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = llava(VOCABULARY)
    process = type(loaded.processor).__call__

    def only_one(self, images, **rest):
        if len(images[0]) > 1:
            raise ValueError("one image at most\nsays the processor")
        return process(self, images=images, **rest)

    monkeypatch.setattr(type(loaded.processor), "__call__", only_one)
    encoder = Encoder(loaded)
    images = (picture(7), picture(8))
    assert encoder.prompt("what ?", images[:1])
    with pytest.raises(DataError) as error:
        encoder.prompt("what ?", images)
    expected = f"picture 7, picture 8: not taken by the processor of {loaded.source}: one image at most"
    assert str(error.value) == expected


def test_encoder_decoder() -> None:
    loaded = llava(VOCABULARY)
    loaded.model.config.is_encoder_decoder = True
    with pytest.raises(ModelError, match="encoder-decoder models are not supported"):
        Encoder(loaded)


def test_template_without_an_end() -> None:
    """The tokenizer's end token takes the place of what the template writes behind an answer."""
    loaded = llava(VOCABULARY)
    loaded.processor.chat_template = loaded.processor.chat_template.replace("</s>", " . . ")
    row = Encoder(loaded).conversation("what colour is this ?", "red", (picture(1),))
    assert Encoder(loaded).tokenizer.convert_ids_to_tokens(row.answer) == ["red", "</s>"]


def test_template_that_begins_an_answer_otherwise() -> None:
    """The answer is learned behind the prompt as it will be asked."""
    loaded = llava(VOCABULARY)
    loaded.processor.chat_template = loaded.processor.chat_template.replace(
        "{% if add_generation_prompt %}<assistant>", "{% if add_generation_prompt %}<assistant>:"
    )
    encoder = Encoder(loaded)
    row = encoder.conversation("what colour is this ?", "red", (picture(1),))
    assert encoder.prompt("what colour is this ?", (picture(1),)).input_ids == row.input_ids[: row.answer_start]
    assert encoder.tokenizer.decode(row.answer) == "red </s>"


def test_cache_is_shared_by_equal_processors() -> None:
    row = Encoder(llava(VOCABULARY)).row(ONE[0])
    assert Encoder(llava(VOCABULARY, seed=1)).row(ONE[0]) is row
    assert Encoder(llava(VOCABULARY + " more words")).row(ONE[0]) is not row


def test_oldest_pixels_are_dropped(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """And made anew, the same."""
    images = [item.images for item in examples(3, 1, seed=7)[::3]]
    before = [encoder.pixels(refs)["pixel_values"] for refs in images]
    monkeypatch.setattr(encoding_cache, "_PIXEL_BYTES", 2 * before[0].nbytes)
    for _ in range(2):
        for refs, pixels in zip(images, before, strict=True):
            assert torch.equal(encoder.pixels(refs)["pixel_values"], pixels)
            encoder.pixels((picture(1000 + len(images)),))
    assert len(encoder.cache.pixels) == 2


def test_tokenizer_of_a_larger_model() -> None:
    """Its tokens would be looked up behind the end of the embeddings."""
    loaded = llava(VOCABULARY)
    loaded.processor.tokenizer.add_tokens(["zanzibar"])
    encoder = Encoder(loaded)
    encoder.row(ONE[0])
    with pytest.raises(ModelError, match=r"its tokenizer makes token \d+ of 'zanzibar', and the model has \d+ tokens"):
        encoder.prompt("zanzibar", ())


def test_image_processor_that_divides_by_zero() -> None:
    loaded = llava(VOCABULARY)
    loaded.processor.image_processor.rescale_factor = float("nan")
    with pytest.raises(ModelError, match="its image processor makes numbers that are not finite of picture 1"):
        Encoder(loaded).prompt("what ?", (picture(1),))


@pytest.mark.parametrize("end", ["</s>", 2.5, True])
def test_end_that_is_no_token(end: object) -> None:
    loaded = llava(VOCABULARY)
    loaded.model.generation_config.eos_token_id = [2, end]
    with pytest.raises(ModelError, match=f"eos_token_id {end!r}: no number of a token; mend its generation_config"):
        Encoder(loaded)


def test_tokenizer_with_settings_of_another_shape() -> None:
    loaded = llava(VOCABULARY)
    loaded.processor.tokenizer.model_max_length = {"a": 1}
    with pytest.raises(ModelError, match="its tokenizer cannot read '.*what colour ?"):
        Encoder(loaded).prompt("what colour ?", ())
