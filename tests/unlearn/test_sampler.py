"""What each step sees."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder
from mmunlearner.config import MethodConfig, TrainConfig
from mmunlearner.data import Example, Splits
from mmunlearner.errors import ConfigError
from mmunlearner.methods import METHODS
from mmunlearner.unlearn import unlearn
from mmunlearner.unlearn.collate import Collator
from mmunlearner.unlearn.sampler import StepSampler

IMAGES, TEXTS = examples(), examples(images=False)
TRAIN = TrainConfig(steps=8, retain_per_forget=1, batch_size=2, questions=2)


def choices() -> list[Example]:
    return [replace(e, task="multiple_choice", choices=(e.answer, "x", "y", "z")) for e in IMAGES]


def test_texts_come_in_a_stream_of_their_own_where_they_are_asked_for() -> None:
    steps = StepSampler.of((), [*IMAGES, *TEXTS], replace(TRAIN, texts=1), 0)
    for i in range(len(steps)):
        retain = steps[i].retain or ()
        assert len({e.image.key for e in retain if e.image}) == 2
        assert len({e.entity for e in retain if not e.image}) == 1
    drawn = Counter(e.entity for i in range(len(steps)) for e in steps[i].retain or () if not e.image)
    assert set(drawn) == {e.entity for e in TEXTS}  # all are seen


@pytest.mark.parametrize("texts", [0, 3])
def test_texts_by_question_are_drawn_equally_often(texts: int) -> None:
    """Of facts with one question, and of a person with seven; by entity, a fact is drawn as often as a person."""
    facts = [replace(TEXTS[0], id=f"fact {k}", entity=f"fact {k}") for k in range(20)]
    person = [replace(TEXTS[0], id=f"person {k}", entity="person") for k in range(7)]
    train = replace(TRAIN, texts=texts, texts_by="question", batch_size=3, steps=60)

    def counts(train: TrainConfig) -> Counter[str]:
        steps = StepSampler.of((), [*(IMAGES if texts else []), *facts, *person], train, 0)
        return Counter(e.id for i in range(len(steps)) for e in steps[i].retain or () if not e.images)

    drawn = counts(train)
    assert len(drawn) == 27
    assert max(drawn.values()) - min(drawn.values()) <= 1
    first = counts(replace(train, steps=4))  # half an epoch already
    assert 2 <= sum(count for name, count in first.items() if name.startswith("person")) <= 5
    by_entity = counts(replace(train, texts_by="entity"))
    assert sum(by_entity[e.id] for e in person) < 3 * by_entity["fact 0"]


@pytest.mark.parametrize(("fraction", "images"), [(0.0, 1), (0.5, 4), (0.6, 5), (1.0, 8)])
def test_a_share_of_the_retain_set_covers_the_entities_first(fraction: float, images: int) -> None:
    steps = StepSampler.of(IMAGES, IMAGES, replace(TRAIN, retain_fraction=fraction), 0)
    drawn = [e for i in range(len(steps)) for e in steps[i].retain or ()]
    assert len({e.image.key for e in drawn if e.image}) == images
    assert len({e.entity for e in drawn}) == min(images, 4)
    assert len({e.image.key for i in range(len(steps)) for e in steps[i].forget or () if e.image}) == 8


def test_options_are_in_another_order_each_time_and_the_answer_stays() -> None:
    steps = StepSampler.of((), choices(), TRAIN, 0)
    drawn = [e for i in range(len(steps)) for e in steps[i].retain or ()]
    assert all(set(e.choices) == {e.answer, "x", "y", "z"} for e in drawn)
    assert len({e.choices.index(e.answer) for e in drawn}) == 4
    assert [s.retain for s in (steps[3], steps[3])] == [steps[3].retain] * 2  # a step can be made again


def test_images_are_changed_each_time_alike_for_alike_steps() -> None:
    encoder = Encoder(llava(VOCABULARY))
    steps = StepSampler.of(IMAGES, IMAGES, TRAIN, 0)
    terms = dict(zip(("forget", "retain"), METHODS["ga_diff"].bind({}), strict=True))

    def pixels(number: int, seed: int, whose: str = "all", term: str = "retain") -> torch.Tensor:
        (made,) = Collator(encoder, terms, None, whose, seed)([replace(steps[0], number=number)])[term]
        return made.batch.passes[0].inputs["pixel_values"]

    assert torch.equal(pixels(0, 0), pixels(0, 0))
    assert not torch.equal(pixels(0, 0), pixels(1, 0))
    assert not torch.equal(pixels(0, 0), pixels(0, 1))
    as_they_are = pixels(0, 0, "none")
    assert not torch.equal(pixels(0, 0), as_they_are)
    assert torch.equal(pixels(0, 0, "forget"), as_they_are)
    assert torch.equal(pixels(1, 1, "none"), as_they_are)
    assert not torch.equal(pixels(0, 0, "forget", "forget"), pixels(0, 0, "none", "forget"))


def test_changed_images_have_no_reference(tmp_path) -> None:
    splits = Splits(tuple(IMAGES), tuple(IMAGES), (), {})
    with pytest.raises(ConfigError, match="augment is all: method kl_min"):
        unlearn(llava(VOCABULARY), splits, MethodConfig("kl_min"), replace(TRAIN, augment="all"), tmp_path)
