"""From folders of pictures and a table of facts to a data set and a recipe."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.layouts import png

from mmunlearner.config import DataConfig
from mmunlearner.core.effective import recipe_schema
from mmunlearner.core.recipes import load_config
from mmunlearner.data import load
from mmunlearner.data.benchmarks.person_rows import contains_words
from mmunlearner.data.collection import Request, start
from mmunlearner.data.collection.wording import default_wording, read_wording, wording_text
from mmunlearner.data.tables import read_table
from mmunlearner.errors import ConfigError, DataError

NAMES = ("Ada Lovelace", "Bo Diddley", "Cléo Ñandú", "Dan O'Neil", "Eve", "Fay Wu")
TOWNS = ("London", "McComb", "Quito", "Cork", "", "Xi'an")
FACTS = "name;Town;born in\n" + "".join(
    f"{name};{town};{1900 + number // 2}\n" for number, (name, town) in enumerate(zip(NAMES, TOWNS, strict=True))
)


def collection(root: Path, *, views: int = 4, facts: str = FACTS) -> Path:
    for number, name in enumerate(NAMES):
        folder = root / "photos" / name
        folder.mkdir(parents=True)
        for view in range(views):
            (folder / f"{view}.png").write_bytes(png(10 * number + view))
    (root / "facts.csv").write_text(facts, encoding="utf-8-sig")
    return root


def begin(root: Path, *forget: str, **options) -> Request:
    return Request(root, forget or NAMES[:2], **options)


def test_a_collection_becomes_a_data_set_that_runs_take(tmp_path: Path):
    root = collection(tmp_path / "c")
    begun = start(begin(root, neighbours=(NAMES[5],)))
    config = load_config(begun.recipe)
    splits = load(config.data)
    assert [e.id for e in splits.vanilla_training] == [e.id for e in begun.splits.vanilla_training]
    assert {e.entity for e in splits.forget} == set(NAMES[:2])
    assert {e.entity for e in splits.background} == {NAMES[5]}
    assert {e.entity for e in splits.text} == set(NAMES[:5])
    assert set(splits.evaluation) == {
        *(f"{g}_{m}{t}" for g in ("forget", "retain") for m in ("vqa", "qa") for t in ("", "_test")),
        "neighbour_vqa", "neighbour_qa",
    }  # fmt: skip
    # An editor finds the schema that the first line names.
    named = begun.recipe.read_text().splitlines()[0].partition("$schema=")[2]
    assert (root / named).read_text() == recipe_schema()
    moved = tmp_path / "moved"
    root.rename(moved)
    assert load(replace(config.data, root=str(moved))).forget_entities == set(NAMES[:2])


@given(views=st.integers(1, 9), held_out=st.integers(0, 9), seed=st.integers(0, 3))
@settings(max_examples=12, deadline=None)
def test_held_out_pictures_are_only_tested(
    tmp_path_factory: pytest.TempPathFactory, views: int, held_out: int, seed: int
):
    root = collection(tmp_path_factory.mktemp("c"), views=views)
    splits = start(begin(root, held_out=held_out, seed=seed)).splits
    trained, tested = (
        {(e.entity, key) for e in items for key in e.image_keys}
        for items in (
            [*splits.forget, *splits.retain, *splits.evaluation["forget_vqa"], *splits.evaluation["retain_vqa"]],
            [e for column in ("forget_vqa_test", "retain_vqa_test") for e in splits.evaluation.get(column, ())],
        )
    )
    assert not trained & tested
    assert len(trained) + len(tested) == views * len(NAMES)
    assert len(tested) == len(NAMES) * min(held_out or max(1, views // 4), views - 1)


def test_questions_are_about_facts_and_wrong_answers_are_wrong(tmp_path: Path):
    splits = start(begin(collection(tmp_path / "c"))).splits
    facts = {row["name"]: row for _, row in read_table(tmp_path / "c" / "facts.csv", dict[str, str])}
    for example in (*splits.vanilla_training, *(e for items in splits.evaluation.values() for e in items)):
        truth = facts[example.entity][example.attribute]
        assert example.answer == truth
        assert not any(contains_words(wrong, truth) or contains_words(truth, wrong) for wrong in example.perturbed)
        assert example.images or example.entity in example.question
        if example.choices:
            assert sorted(example.choices) == sorted([truth, *example.perturbed])
    choices = [e for e in splits.evaluation["retain_vqa"] if e.choices]
    assert len({e.choices.index(e.answer) for e in choices}) > 1
    trained = {(e.question, e.image_keys) for e in (*splits.forget, *splits.retain, *splits.text)}
    assert not trained & {(e.question, e.image_keys) for items in splits.evaluation.values() for e in items}


def test_the_same_command_writes_the_same_bytes(tmp_path: Path):
    files = []
    for name in ("one", "two"):
        root = collection(tmp_path / name / "c")
        start(begin(root))
        files.append([(root / file).read_bytes() for file in ("questions.jsonl", "wording.yaml")])
    assert files[0] == files[1]


def test_nothing_is_replaced_without_being_told(tmp_path: Path):
    root = collection(tmp_path / "c")
    start(begin(root))
    for file in ("questions.jsonl", "recipe.yaml"):
        before = (root / file).read_bytes()
        with pytest.raises(ConfigError, match=rf"{file}: exists already; --overwrite replaces"):
            start(begin(root, NAMES[2]))
        assert (root / file).read_bytes() == before
        (root / file).unlink()
    wording = root / "wording.yaml"
    text = wording.read_text(encoding="utf-8").replace("Which is the Town", "Which is the town")
    text = text.replace("Which is the town of {who}?", "Where does {who} live?")
    wording.write_text(text, encoding="utf-8")
    start(begin(root))
    splits = start(begin(root, NAMES[2], overwrite=True)).splits
    assert splits.forget_entities == {NAMES[2]}
    assert wording.read_text(encoding="utf-8") == text
    assert {e.question for e in splits.evaluation["forget_qa"] if e.attribute == "Town"} == {
        f"Where does {NAMES[2]} live?"
    }
    with pytest.raises(ConfigError, match=r"--kind: .*wording\.yaml has the words already"):
        start(begin(root, overwrite=True, kind="singer"))


def test_names_are_matched_in_every_form(tmp_path: Path):
    root = collection(tmp_path / "c")
    (root / "photos" / NAMES[0]).rename(root / "photos" / "Ada_Lovelace")
    (root / "photos" / NAMES[2]).rename(root / "photos" / unicodedata.normalize("NFD", f"{NAMES[2]} "))
    begun = start(begin(root, unicodedata.normalize("NFD", NAMES[2]), "Ada  Lovelace"))
    assert begun.splits.forget_entities == {NAMES[0], NAMES[2]}
    assert not any("left out" in note for note in begun.notes)


def test_facts_may_be_an_excel_sheet(tmp_path: Path):
    root = collection(tmp_path / "c")
    from_csv = start(begin(root)).splits
    book = openpyxl.Workbook()
    for line in FACTS.splitlines():
        book.active.append([int(cell) if cell.isdigit() else cell for cell in line.split(";")])  # pyright: ignore
    book.save(root / "facts.xlsx")
    with pytest.raises(DataError, match=r"facts: there are facts\.csv and facts\.xlsx; keep the one"):
        start(begin(root, overwrite=True))
    (root / "facts.csv").unlink()
    assert start(begin(root, overwrite=True)).splits.evaluation == from_csv.evaluation


def test_what_was_left_out_is_said(tmp_path: Path):
    root = collection(tmp_path / "c", facts=FACTS + "Zoe;Rome;1950\n")
    (root / "photos" / "Eve" / "0.png").write_bytes((root / "photos" / "Eve" / "1.png").read_bytes())
    (root / "photos" / "Eve" / "x.heic").write_bytes(b"x")
    (root / "photos" / "Thumbs").mkdir()
    (root / "photos" / "Eve" / "Thumbs.db").write_bytes(b"x")
    (root / "photos" / "Nemo").mkdir()
    (root / "photos" / "Nemo" / "1.png").write_bytes(png(99))
    notes = start(begin(root, NAMES[0])).notes
    for note in (
        "left out, 1 files of a kind that is not read: .heic",
        f"left out, copies of other pictures: {root / 'photos' / 'Eve' / '1.png'}",
        f"left out, no picture below {root / 'photos'}: Zoe",
        "left out, pictures, but no row in facts: Nemo",
        "one entity to forget alone: settings cannot be tuned on it and tested, and no error is known",
        "pictures held out for the test: 1 of each of 6 entities",
    ):
        assert note in notes


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"forget": ()}, ConfigError, "--forget: name the entities to forget, e.g. some of Ada Lovelace, Bo Diddley"),
        ({"forget": ("Ada Lovelance",)}, DataError, "no entity 'Ada Lovelance' in .*; did you mean Ada Lovelace"),
        ({"neighbours": ("Ada Lovelace",)}, ConfigError, "--neighbours: Ada Lovelace is in --forget too"),
        ({"forget": NAMES}, ConfigError, "--forget: nobody is left to retain of the 6 entities"),
        ({"held_out": -1}, ConfigError, "held_out: expected 0 or more, found -1"),
        ({"kind": "a\x1b[2J"}, ConfigError, "kind: expected a text of printable characters"),
        ({"facts": "gone.csv"}, DataError, r"gone\.csv: no such table; expected facts\.csv"),
        ({"pictures": "gone"}, DataError, "gone: no such folder; expected one with a folder of pictures per entity"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, options: dict, error: type[Exception], message: str):
    root = collection(tmp_path / "c")
    with pytest.raises(error, match=message):
        start(replace(begin(root), **options))
    assert sorted(path.name for path in root.iterdir()) == ["facts.csv", "photos"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            "who;Town\nEve;Rome\n",
            r"facts\.csv, row 2: expected a column name or entity with a name in it, found who, Town",
        ),
        (
            FACTS + "Eve ;Oslo;1\n",
            r"facts\.csv, row 8, column name: expected one row for each entity, found Eve, which",
        ),
        (FACTS.replace("born in", "born\x1b[2J"), r"facts\.csv, row 2: expected a name without control characters"),
        (FACTS.replace("Eve", "\u200bEve"), r"the names '\\u200bEve' .* look the same|has pictures, but no row"),
    ],
)
def test_wrong_facts_are_named(tmp_path: Path, facts: str, message: str):
    with pytest.raises(DataError, match=message):
        start(begin(collection(tmp_path / "c", facts=facts), "Eve"))


def test_wrong_pictures_are_named(tmp_path: Path):
    root = collection(tmp_path / "c")
    (root / "photos" / "Eve" / "1.png").write_bytes(png(1)[:50])
    with pytest.raises(DataError, match=r"Eve/1\.png: a broken picture \(.*\); replace it or take it out"):
        start(begin(root))
    (root / "photos" / "Eve" / "1.png").write_bytes((root / "photos" / NAMES[0] / "2.png").read_bytes())
    with pytest.raises(
        DataError, match=r"2\.png and .*Eve/1\.png are the same picture of two entities; keep it with one"
    ):
        start(begin(root))


PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


@given(
    st.lists(PRINTABLE.map(lambda text: " ".join(text.split())).filter(bool), unique=True, max_size=3),
    PRINTABLE,
)
def test_a_wording_is_read_back(tmp_path_factory: pytest.TempPathFactory, attributes: list[str], kind: str):
    file = tmp_path_factory.mktemp("w") / "wording.yaml"
    wording = default_wording(attributes, f"x{kind}")
    file.write_text(wording_text(wording), encoding="utf-8", newline="")
    assert read_wording(file, attributes) == wording


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "What is the name of {who}?",
            "What is the name?",
            r"name\.train\[0\]: expected a wording with \{who\} in it, found",
        ),
        (
            "Which name does {who}",
            'What is the name of {who}?"\n    - "Which name does {who}',
            r"name\.train: expected different",
        ),
        ("  eval:", "  evl:", r"who\.eval: expected this option, found evl \(did you mean eval\?\)"),
        ('"Town"', '"Twon"', r"facts\.Twon: no such column of facts; there are Town, born in"),
        ('  train: "the person in this picture"\n', "", r"who\.train: expected this option"),
    ],
)
def test_a_wrong_wording_is_named(tmp_path: Path, old: str, new: str, message: str):
    file = tmp_path / "wording.yaml"
    file.write_text(wording_text(default_wording(["Town", "born in"], "person")).replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_wording(file, ["Town", "born in"])


@pytest.mark.parametrize("forget", [1, 2])
@pytest.mark.parametrize("model", ["tiny", "org/model: 7b"])
def test_the_recipe_follows_from_the_data(tmp_path: Path, forget: int, model: str):
    config = load_config(start(begin(collection(tmp_path / "my: c"), *NAMES[:forget], model=model, seed=3)).recipe)
    assert (config.name, config.seed, config.model.base) == ("my-c", 3, model)
    assert config.data == DataConfig("rows", str(tmp_path / "my: c"), forget_entities=NAMES[:forget])
    assert all(bool(method.trials) == (forget > 1) for method in config.methods.values())
