"""One pass over each data set for all masks of a run, and the same bits as a pass for each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig
from mmunlearner.core.recipes import load_config
from mmunlearner.data import Splits
from mmunlearner.errors import DataError
from mmunlearner.run.run_dir import mask_name
from mmunlearner.saliency import passes

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
VISION, LANGUAGE = MaskConfig(), MaskConfig(parts=("language",), beta=0.5)
ALL = MaskConfig(parts=("vision", "projector", "language"))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))


def test_the_demo_passes_each_set_once():
    recipe = load_config("demo")
    wanted = passes(method.mask for method in recipe.methods.values() if method.mask)
    assert [(each.data, each.parts) for each in wanted] == [
        ("retain", ("vision", "projector", "language")),
        ("forget", ("vision", "projector", "language")),
        ("text", ("language",)),
    ]


def test_texts_are_passed_for_the_language_part_alone():
    assert {each.data for each in passes([VISION, replace(VISION, random=True)])} == {"forget", "retain"}


def test_masks_of_other_units_take_passes_of_their_own():
    others = [{"unit": "question"}, {"limit": 3}, {"unit": "batch"}, {"unit": "batch", "batch": 2}]
    masks = [VISION, *(replace(VISION, **other) for other in others)]
    names = [each.name for each in passes([*masks, replace(VISION, batch=2)])]
    assert len(names) == len(set(names)) == 10
    assert len({mask_name(mask) for mask in masks}) == 5


@pytest.mark.parametrize("unit", ["image", "question"])
@pytest.mark.parametrize("config", [VISION, LANGUAGE, ALL, replace(VISION, random=True)])
def test_a_mask_of_a_joint_pass_is_that_of_its_own(encoder, tmp_path, config, unit):
    config = replace(config, unit=unit)
    joint = {
        each.data: each.measure(encoder, SPLITS)
        for each in passes(replace(mask, unit=unit) for mask in (VISION, LANGUAGE, ALL))
    }
    together = saliency.cut(encoder.loaded, joint, config, seed=3).save(tmp_path / "together")
    alone = saliency.compute(encoder, SPLITS, config, seed=3).save(tmp_path / "alone")
    assert together.read_bytes() == alone.read_bytes()


def test_squares_come_back_one_by_one(encoder, tmp_path):
    (measured,) = (each.measure(encoder, SPLITS) for each in passes([VISION]) if each.data == "forget")
    read, cost = saliency.kept(saliency.keep(measured, tmp_path / "squares", {"seconds": 1.5}))
    assert cost == {"seconds": 1.5}
    assert read.units == measured.units
    assert set(read.squares) == set(measured.squares)
    assert all(torch.equal(read.squares[name], squares) for name, squares in measured.squares.items())


def test_empty_set_is_named(encoder):
    (text,) = (each for each in passes([LANGUAGE]) if each.data == "text")
    with pytest.raises(DataError, match="text set is empty"):
        text.groups(replace(SPLITS, text=()))
