"""One road to a mask: passes over the data sets, shared and stored, then the threshold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.progress import Listener
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig
from mmunlearner.core.recipes import load_config
from mmunlearner.data import Splits
from mmunlearner.errors import DataError
from mmunlearner.run.run_dir import mask_name
from mmunlearner.saliency import fisher_passes, load_fisher

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
VISION, LANGUAGE = MaskConfig(), MaskConfig(parts=("language",), beta=0.5)
ALL = MaskConfig(parts=("vision", "projector", "language"), beta=1.0)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(llava(VOCABULARY))


def test_the_demo_passes_each_set_once():
    recipe = load_config("demo")
    wanted = fisher_passes(method.mask for method in recipe.methods.values() if method.mask)
    assert [(each.data, each.parts) for each in wanted] == [
        ("retain", ("vision", "projector", "language")),
        ("forget", ("vision", "projector", "language")),
        ("text", ("language",)),
    ]


def test_texts_are_passed_for_the_language_part_alone():
    assert {each.data for each in fisher_passes([VISION, replace(VISION, random=True)])} == {"forget", "retain"}


def test_masks_of_other_units_take_passes_of_their_own():
    others = [{"unit": "question"}, {"limit": 3}, {"unit": "batch"}, {"unit": "batch", "batch": 2}]
    masks = [VISION, *(replace(VISION, **other) for other in others)]
    names = [each.name for each in fisher_passes([*masks, replace(VISION, batch=2)])]
    assert len(names) == len(set(names)) == 10
    assert len({mask_name(mask) for mask in masks}) == 5


@pytest.mark.parametrize("unit", ["image", "question"])
@pytest.mark.parametrize("config", [VISION, LANGUAGE, ALL, replace(VISION, random=True)])
def test_a_mask_of_a_joint_pass_is_that_of_its_own(encoder, tmp_path, config, unit):
    """Masks of a run share stored squares, and are the files that each would be alone."""
    config, store = replace(config, unit=unit), tmp_path / "squares"
    for joint in fisher_passes(replace(mask, unit=unit) for mask in (VISION, LANGUAGE, ALL)):
        joint.measure(encoder, SPLITS, store=store)
    together = saliency.compute(encoder, SPLITS, config, seed=3, store=store).save(tmp_path / "together")
    alone = saliency.compute(encoder, SPLITS, config, seed=3).save(tmp_path / "alone")
    assert together.read_bytes() == alone.read_bytes()


def test_stored_squares_are_measured_once(encoder, tmp_path):
    titles = []
    progress = Listener(lambda title, done, total: titles.append(title) if done == 1 else None)
    (fisher_pass,) = (each for each in fisher_passes([VISION]) if each.data == "forget")
    measured = fisher_pass.measure(encoder, SPLITS)
    stored = fisher_pass.measure(encoder, SPLITS, store=tmp_path, progress=progress)
    saliency.compute(encoder, SPLITS, VISION, store=tmp_path, progress=progress)
    assert titles == ["saliency, forget", "saliency, retain"]
    read = load_fisher(fisher_pass.path(tmp_path))
    assert (read.units, read.cost) == (measured.units, stored.cost)
    assert read.cost.seconds > 0
    assert set(read.squares) == set(measured.squares)
    assert all(torch.equal(read.squares[name], squares) for name, squares in measured.squares.items())


def test_empty_set_is_named(encoder):
    (text,) = (each for each in fisher_passes([LANGUAGE]) if each.data == "text")
    with pytest.raises(DataError, match="text set is empty"):
        text.groups(replace(SPLITS, text=()))
