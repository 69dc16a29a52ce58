"""The flags, as far as they can be seen without training a model; all but the smallest tests need the real pictures."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmunlearner.data import Splits, overlap
from mmunlearner.data.benchmarks import rows
from mmunlearner.data.benchmarks.flags import (
    FORGET,
    LOOK_ALIKE,
    PHRASES,
    VIEWS,
    load,
    look_alikes,
    make_rows,
    quizzes,
    read_countries,
    values,
    variation,
)
from mmunlearner.errors import DataError

FEW = ("Brazil", "Japan")


@pytest.fixture(scope="module")
def root(shared_data: Path) -> Path:
    return shared_data / "flags"


@pytest.fixture(scope="module")
def splits(root: Path) -> Splits:
    return load(root)


@pytest.fixture(scope="module")
def few(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten countries, among them two pairs that look alike."""
    out = tmp_path_factory.mktemp("flags")
    codes = {"br", "ca", "ro", "td", "id", "mc", "jp", "ke", "fr", "np"}
    facts = [entry for entry in json.loads((root / "facts.json").read_text()) if entry["code"] in codes]
    (out / "facts.json").write_text(json.dumps(facts))
    for view in VIEWS:
        (out / view).mkdir()
        for code in codes:
            shutil.copy(root / view / f"{code}.png", out / view)
    return out


@pytest.fixture(scope="module")
def few_splits(few: Path) -> Splits:
    return load(few, forget_entities=FEW)


def test_flags_that_look_alike_are_left_out(root: Path):
    same = look_alikes(root, read_countries(root))
    assert same["Romania"] == "Chad"
    assert same["Monaco"] == "Indonesia"
    assert same["Svalbard and Jan Mayen"] == same["Bouvet Island"] == "Norway"
    assert same["Mayotte"] == same["Guadeloupe"] == "France"
    assert same["United States Minor Outlying Islands"] == "United States"
    assert not set(FORGET) & set(same)
    assert not set(same) & set(same.values())
    assert 15 <= len(same) <= 30
    assert LOOK_ALIKE < 0.1


def test_what_is_left_out_is_said_and_the_rows_are_the_same_every_time(
    few: Path, few_splits: Splits, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        assert load(few, forget_entities=FEW) == few_splits
    assert "2 countries left out, whose flags look like others'" in caplog.text
    assert "Romania (like Chad), Monaco (like Indonesia)" in caplog.text


def test_views_are_held_out(splits: Splits):
    def views(items) -> set[str]:
        return {e.image.path.split("/")[0] for e in items if e.image}

    assert views(splits.vanilla_training) == {"icon", "flat", "general"}
    for group in ("forget", "retain"):
        assert views(splits.evaluation[f"{group}_vqa"]) == {"icon", "flat"}
        assert views(splits.evaluation[f"{group}_vqa_test"]) == {"waving"}
    trained = {e.image.key for e in splits.vanilla_training if e.image}
    assert not trained & {e.image.key for e in splits.evaluation["forget_vqa_test"] if e.image}


def test_groups_are_apart_and_nothing_evaluated_is_trained_on(splits: Splits):
    people = {
        group: {e.entity for e in splits.evaluation[f"{group}_vqa"]}
        for group in ("forget", "retain", "neighbour", "stranger")
    }
    assert people["forget"] == set(FORGET) == splits.forget_entities
    assert 20 <= len(people["neighbour"]) <= 30
    assert not people["neighbour"] & (people["forget"] | people["retain"])
    assert {e.entity for e in splits.text} == people["forget"] | people["retain"]
    assert overlap(splits) == ((), ())
    trained = {e.entity for e in splits.background}
    assert trained >= people["neighbour"] | people["stranger"]
    assert {"Greenland", "Aruba", "Taiwan"} <= people["stranger"]
    assert not people["stranger"] & (people["forget"] | people["retain"] | people["neighbour"])


def test_only_neighbours_are_trained_on_in_every_wording(splits: Splits):
    train = PHRASES["capital"]["train"].open.format(who="the country with this flag")
    assert {e.question for e in splits.forget if e.attribute == "capital" and e.task != "cloze"} == {train}
    background = {e.question for e in splits.background if e.attribute == "capital"}
    assert len(background) > 6


def test_columns_are_balanced(splits: Splits):
    for column, items in splits.evaluation.items():
        assert len({e.id for e in items}) == len(items)
        if not column.startswith("general"):
            tasks = Counter(e.task for e in items)
            assert tasks["multiple_choice"] > len(items) / 8, column
            assert min(tasks["cloze"], tasks["generation"]) > len(items) / 4, column
            assert {Counter(e.attribute for e in items if e.task == task)["capital"] > 0 for task in tasks} == {True}
            assert all(e.perturbed and e.answer not in e.perturbed for e in items)


def test_wrong_answers_are_wrong(root: Path):
    countries = read_countries(root)
    true = {country["name"]: values(country) for country in countries}
    for quiz in quizzes(countries):
        for e in quiz.evaluation([], "eval"):
            assert not set(e.perturbed) & set(true[e.entity][e.attribute])
            assert e.answer == true[e.entity][e.attribute][0]


def test_the_same_rows_on_disk(few: Path, few_splits: Splits, tmp_path: Path):
    written = rows.load(rows.write(tmp_path / "rows", make_rows(few, FEW)), forget_entities=FEW)
    for name in ("forget", "retain", "text", "background"):
        assert [e.id for e in getattr(written, name)] == [e.id for e in getattr(few_splits, name)]
    assert written.evaluation.keys() == few_splits.evaluation.keys()
    pixels = [s.forget[0].image.open().tobytes() for s in (few_splits, written) if s.forget[0].image]
    assert pixels[0] == pixels[1]


@pytest.mark.parametrize(
    ("forget", "message"),
    [
        ("Romania", "Romania is left out, as its flag looks like that of Chad: forget that one"),
        ("Brasil", "no entity 'Brasil' to forget; did you mean Brazil?"),
    ],
)
def test_countries_that_cannot_be_forgotten(few: Path, forget: str, message: str):
    with pytest.raises(DataError, match=message):
        load(few, forget_entities=(forget,))


def test_a_missing_picture_and_a_wrong_fact_are_named(few: Path, tmp_path: Path):
    broken = shutil.copytree(few, tmp_path / "flags")
    (broken / "waving" / "np.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"facts\.json, row \d+, column code: expected a picture of Nepal, found .*np"):
        load(broken)
    facts = json.loads((broken / "facts.json").read_text())
    (broken / "facts.json").write_text(json.dumps([*facts[:2], facts[2] | {"capital": "Paris"}]))
    with pytest.raises(DataError, match=r"facts\.json, row 3, column capital: expected a list, found 'Paris'"):
        load(broken)


@given(st.integers(0, 100))
def test_variations_depend_on_the_seed_alone(seed: int):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    first, again = (variation(picture, np.random.default_rng(seed), 32) for _ in range(2))
    assert first.size == (32, 32)
    assert first.tobytes() == again.tobytes() != variation(picture, np.random.default_rng(seed + 1), 32).tobytes()
