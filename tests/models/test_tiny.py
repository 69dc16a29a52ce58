"""The tiny model: its tokenizer, its template, and that plain transformers loads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.data import prompt, target
from mmunlearner.data.benchmarks.people.world import FACTS, world
from mmunlearner.models import Loaded, load, parts, save
from mmunlearner.models.tiny import build, from_oracle_weights, split_words
from mmunlearner.teaching.pages import evaluation_columns

COLUMNS = evaluation_columns(15)


@pytest.fixture(scope="module")
def made() -> Loaded:
    texts = [text for items in COLUMNS.values() for e in items for text in (prompt(e), target(e))]
    return build(texts, seed=0)


def test_it_is_small_and_genuine(made: Loaded) -> None:
    assert isinstance(made.model, LlavaForConditionalGeneration)
    assert 1_000_000 < sum(p.numel() for p in made.model.parameters()) < 2_400_000
    assert all(parts(made.model).values())


def test_no_item_holds_an_unknown_word(made: Loaded) -> None:
    encoder = Encoder(made)
    unknown = encoder.tokenizer.unk_token_id
    for items in COLUMNS.values():
        assert not [e for e in items[:200] if unknown in encoder.row(e).input_ids]


def test_values_survive_the_tokenizer(made: Loaded) -> None:
    encoder = Encoder(made)
    for value in (*(v for several in FACTS.values() for v in several), world().people[0].name, "A", "D"):
        ids = encoder.tokenizer(value, add_special_tokens=False)["input_ids"]
        assert encoder.tokenizer.decode(ids) == value


def test_words_are_the_tokenizers(made: Loaded) -> None:
    """What the vocabulary is collected with is how the tokenizer splits."""
    encoder = Encoder(made)
    for e in COLUMNS["forget_vqa"][:10]:
        assert encoder.tokenizer.tokenize(prompt(e)) == split_words(prompt(e))


def test_row(made: Loaded) -> None:
    encoder = Encoder(made)
    ids = encoder.row(COLUMNS["forget_vqa"][0]).input_ids
    image = encoder.tokenizer.convert_tokens_to_ids("<image>")
    places = [i for i, token in enumerate(ids) if token == image]
    assert places == list(range(2, 18))  # behind <s><user>
    assert ids[-1] == encoder.tokenizer.eos_token_id


def test_embeddings_of_options(made: Loaded) -> None:
    encoder = Encoder(made)
    weight = made.model.get_input_embeddings().weight
    option, letter, *inside = encoder.tokenizer.convert_tokens_to_ids(["B: Port Selva", "B", "Port", "Selva"])
    torch.testing.assert_close(weight[option], weight[letter] + weight[inside].mean(0))


def test_equal_seeds_make_equal_models(made: Loaded) -> None:
    again = build(["one"], seed=3), build(["one"], seed=3), build(["one"], seed=4)
    states = [m.model.state_dict() for m in again]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_plain_transformers_loads_it(made: Loaded, tmp_path: Path) -> None:
    save(made, tmp_path / "model")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    example = COLUMNS["forget_vqa"][0]
    assert example.image is not None
    turn = [{"role": "user", "content": [{"type": "text", "text": prompt(example)}, {"type": "image"}]}]
    text = processor.apply_chat_template(turn, add_generation_prompt=True)
    inputs = processor(text=[text], images=[example.image.open()], return_tensors="pt", add_special_tokens=False)
    with torch.inference_mode():
        logits = model(**inputs).logits
        assert torch.equal(logits, made.model(**inputs).logits)
    assert model.generate(**inputs, max_new_tokens=2).shape[1] == inputs["input_ids"].shape[1] + 2


def test_from_oracle_weights() -> None:
    """What it does not share is the rows of words that the oracle does not know."""
    asked = [text for e in COLUMNS["general_qa"] for text in (prompt(e), target(e))]
    made, school = from_oracle_weights([*asked, "Which zebra?", "\nA: zebra"]), load("people:oracle")
    batch = [
        share_prefixes(Encoder(loaded).rows(COLUMNS["general_qa"][:6]), Encoder(loaded)) for loaded in (made, school)
    ]
    mine, theirs = (answers(loaded.model.eval(), b) for loaded, b in zip((made, school), batch, strict=True))
    own, known = (loaded.processor.tokenizer.get_vocab() for loaded in (made, school))
    shared = [word for word in own if word in known]
    torch.testing.assert_close(
        mine.logits[:, [own[word] for word in shared]], theirs.logits[:, [known[word] for word in shared]]
    )
    rows = made.model.get_input_embeddings().weight
    torch.testing.assert_close(rows[own["A: zebra"]], rows[own["A"]] + rows[own["zebra"]])
