"""Folds of the people: sets to forget that share nobody, so that one can choose and another report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmunlearner.config import DataConfig
from mmunlearner.data import load
from mmunlearner.data.benchmarks.people.folds import CHOOSING, FOLDS
from mmunlearner.data.benchmarks.people.world import ROUNDS, world
from mmunlearner.errors import ConfigError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("data") / "people")


def test_folds_share_nobody_but_one_that_joins_two():
    assert FOLDS["24"] == FOLDS["12c"] + FOLDS["12d"]
    people = [person for fold, ids in FOLDS.items() if fold != "24" for person in ids]
    assert len(people) == len(set(people)) == 65
    assert set(people) <= {person.id for person in world().people}
    assert all(len(ids) == int(fold.rstrip("abcd")) for fold, ids in FOLDS.items())
    assert set(CHOOSING) < set(FOLDS)


def test_the_first_fold_is_the_set_of_the_shipped_oracle(root: str):
    assert load(DataConfig("people", root=root, fold="12")) == load(DataConfig("people", root=root, forget=15))


def test_a_fold_is_its_entities(root: str):
    splits = load(DataConfig("people", root=root, fold="4"))
    assert splits == load(DataConfig("people", root=root, forget_entities=FOLDS["4"]))
    assert splits.forget_entities == set(FOLDS["4"])
    assert len(splits.evaluation["forget_vqa"]) == 4 * 18 * ROUNDS


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig("people", fold="12e"), "data.fold: 12e: format people has no such fold; did you mean 12"),
        (
            DataConfig("people", fold="4", forget_entities=("001",)),
            "data.fold: data.forget_entities names the entities",
        ),
        (DataConfig("rows", fold="4"), "data.fold: 4: format rows has no such fold; name the entities with"),
    ],
)
def test_a_fold_that_is_not_there_is_refused(config: DataConfig, message: str, root: str):
    with pytest.raises(ConfigError, match=message):
        load(replace(config, root=root))
