"""The small part of the benchmark: four facts of few people, and a set to forget."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmunlearner.config import DataConfig
from mmunlearner.data import load
from mmunlearner.data.benchmarks.people.small import fact_of, small_cast
from mmunlearner.data.benchmarks.people.world import FACTS, world
from mmunlearner.data.example import Splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("people")


@pytest.fixture(scope="module")
def splits(folder: Path) -> Splits:
    return load(DataConfig(format="people_small", root=str(folder)))


def test_nobody_else_and_no_other_fact_is_asked_for(splits: Splits) -> None:
    cast, named = small_cast(), {p.id for p in (*world().people, *world().neighbours, *world().strangers)}
    assert splits.forget_entities == set(cast.forget)
    items = [item for group in splits.sets.values() for item in group]
    assert {item.entity for item in items if item.entity in named} <= set(cast.people)
    assert {fact_of(item) for item in items} <= {*cast.facts, ""}
    assert all(
        {fact_of(item) for item in splits.evaluation[column]} == set(cast.facts)
        for column in ("forget_vqa", "retain_qa")
    )
    assert {"general_vqa", "general_qa", "stranger_vqa"} <= set(splits.evaluation)


def test_the_fact_of_a_question_is_found_in_its_words(splits: Splits) -> None:
    """Training questions have no attribute of their own in the files."""
    for item in (*splits.forget, *splits.text):
        if fact := fact_of(item):
            assert item.answer in (*FACTS[fact], *"ABCD")


def test_other_people_can_be_forgotten(folder: Path, splits: Splits) -> None:
    other = load(DataConfig(format="people_small", root=str(folder), forget_entities=("010",)))
    assert other.forget_entities == {"010"}
