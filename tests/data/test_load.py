from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import huggingface_hub
import pytest
from support import layouts
from support.layouts import png

from mmunlearner.config import DataConfig
from mmunlearner.data import FORMATS, Example, ImageRef, Splits, load
from mmunlearner.data.benchmarks import mllmu, rows
from mmunlearner.data.benchmarks.rows import as_row, write
from mmunlearner.data.load import data_hashes, find_loader, local_folder
from mmunlearner.errors import ConfigError, DataError

PICTURE = ImageRef("a.png", png(1))


def loader(root: str, *, forget_entities: Sequence[str], seed: int) -> Splits:
    """A user's own."""
    text = Example("t", "b", f"{root} {seed}", "yes")
    return Splits(
        (Example("a", forget_entities[0], "?", "yes", (PICTURE,)),),
        (Example("b", "b", "?", "yes", (PICTURE,)),),
        (text,),
        {},
    )


def general(root: Path) -> Path:
    return write(root, [as_row(Example("g", "cup", "Is it a cup?", "yes"), "test", group="general")])


def test_a_format_by_name(tmp_path: Path):
    splits = load(DataConfig("mllmu", str(layouts.mllmu(tmp_path / "b")), forget=25))
    assert splits == mllmu.load(tmp_path / "b", forget=25)


def test_rows_take_names(tmp_path: Path):
    lines = [as_row(Example(e, e, "?", "yes", (PICTURE,)), "train") for e in "ab"]
    splits = load(DataConfig("rows", str(write(tmp_path / "r", lines)), forget_entities=("a",)))
    assert splits.forget_entities == {"a"}


def test_names_reach_a_loader_in_one_unicode_form():
    splits = load(DataConfig(f"{__name__}:loader", "here", forget_entities=("  Jose\u0301  Li",)))
    assert splits.forget_entities == {"Jos\u00e9 Li"}


def test_a_function_of_the_users_own_gets_what_it_asks_for():
    splits = load(DataConfig(f"{__name__}:loader", "here", forget_entities=("a",)), seed=3)
    assert splits.text[0].question == "here 3"
    assert splits.forget_entities == {"a"}


def test_the_general_set_comes_along_or_is_named(tmp_path: Path):
    root = layouts.mllmu(tmp_path / "b")
    assert not {"general_vqa", "general_qa"} & set(load(DataConfig("mllmu", str(root), forget=25)).evaluation)
    elsewhere = general(tmp_path / "elsewhere")
    configured = load(DataConfig("mllmu", str(root), forget=25, general=str(elsewhere)))
    assert [e.id for e in configured.evaluation["general_qa"]] == ["g"]
    general(root / "general")
    embedded = load(DataConfig("mllmu", str(root), forget=25))
    assert [e.id for e in embedded.evaluation["general_qa"]] == ["g"]


def with_general(root: str) -> Splits:
    """A user's own, with a general set of both kinds in one column."""
    drawing, fact = Example("d", "d", "Shape?", "ring", (PICTURE,)), Example("f", "f", "One and one?", "two")
    general = {"general": (fact, drawing), "retain_qa": (Example("r", "b", "Who?", "b"),)}
    return replace(loader(root, forget_entities=("a",), seed=0), evaluation=general)


def test_pictures_and_words_of_general_ability_are_columns_of_their_own(tmp_path: Path):
    splits = load(DataConfig(f"{__name__}:with_general", "here"))
    assert {column: [e.id for e in items] for column, items in splits.evaluation.items()} == {
        "general_vqa": ["d"], "general_qa": ["f"], "retain_qa": ["r"],
    }  # fmt: skip
    # Another set takes the place of the whole of the benchmark's own.
    elsewhere = general(tmp_path / "elsewhere")
    named = load(DataConfig(f"{__name__}:with_general", "here", general=str(elsewhere)))
    assert {column: [e.id for e in items] for column, items in named.evaluation.items()} == {
        "retain_qa": ["r"], "general_qa": ["g"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            DataConfig("mlmu", "x"),
            r"data\.format: mlmu: no such format; did you mean mllmu\? \(your own: pack",
        ),
        (DataConfig("gone:load", "x"), r"data\.format: gone:load: cannot be imported \(No module named 'gone'\)"),
        (DataConfig("json:lode", "x"), r"data\.format: json:lode: cannot be imported"),
        (DataConfig("rows"), r"data\.root: format rows needs a folder: --data\.root FOLDER"),
    ],
)
def test_wrong_options_are_named(config: DataConfig, message: str):
    with pytest.raises(ConfigError, match=message):
        load(config)


def test_what_any_loader_returns_is_checked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "own", sys.modules[__name__])
    with pytest.raises(
        DataError, match=r"here: b is both in the forget set \(a\) and in the retain set \(b\); it must be in one"
    ):
        load(DataConfig("own:loader", "here", forget_entities=("b",)))


def own_splits(**changes: object) -> Splits:
    return replace(loader("here", forget_entities=("a",), seed=0), **changes)


def about(images: object) -> Splits:
    return own_splits(text=(Example("t", "b", "?", "yes", images),))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (None, "expected Splits with a mapping of columns, found nothing"),
        ({"forget": ()}, "expected Splits with a mapping of columns, found {'forget'"),
        (own_splits(evaluation=()), "expected Splits with a mapping of columns, found Splits"),
        (own_splits(retain=[]), r"retain: expected a tuple of Example, found \[\]"),
        (own_splits(evaluation={"forget_vqa": ("x",)}), "forget_vqa: expected a tuple of Example, found"),
        (about("a.png"), "text: t: images: expected a tuple of ImageRef, found 'a.png'"),
        (about((png(1),)), "text: t: images: expected a tuple of ImageRef, found"),
        (about((PICTURE, ImageRef("gone.png"))), r"text: t: images: gone\.png: No such file"),
        (about((ImageRef("x", png(1)[:40]),)), "text: t: images: not decodable"),
    ],
    ids=range(9),
)
def test_an_own_loader_gives_examples_with_images(monkeypatch: pytest.MonkeyPatch, splits: object, message: str):
    own = ModuleType("own")
    setattr(own, "loader", lambda root: splits)  # noqa: B010
    monkeypatch.setitem(sys.modules, "own", own)
    with pytest.raises(DataError, match=f"^own:loader: {message}"):
        load(DataConfig("own:loader", "here"))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_can_be_imported(name: str):
    assert callable(find_loader(name))


def test_reading_data_needs_no_torch():
    code = (
        "import sys, mmunlearner.data\n"
        "from mmunlearner.data.benchmarks import mllmu, rows, flags\n"
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def data_sets(root: Path) -> dict[str, DataConfig]:
    """A small data set in every layout, by the layout's own writer, and how it is read."""
    everybody = [layouts.umu_person(n) for n in range(3)]
    for split, people in (("forget_25", everybody[:1]), ("retain_75", everybody[1:])):
        layouts.write_umu(root / "umu", split, people)
    for split, captions in (("forget05", [layouts.picture_of(0)]), ("retain95", [layouts.picture_of(1)])):
        layouts.write_clear(root / "clear", split, captions)
    layouts.write_clear(root / "clear", "full+tofu", layouts.mixed([0, 1]))
    layouts.write_fiubench(root / "fiubench", [layouts.identity(n) for n in range(3)], {"forget5": [f"{0:06d}"]})
    layouts.mllmu(root / "mllmu")
    people_splits = mllmu.load(root / "mllmu", forget=25)
    rows.write(
        root / "rows",
        [rows.as_row(replace(e, id=f"t/{e.id}"), "train") for e in (*people_splits.forget, *people_splits.retain)],
    )
    for name, store in (("conversations", layouts.write_conversations), ("chat", layouts.write_chat)):
        store(root / name, {"forget": people_splits.forget, "retain": people_splits.retain})
    shares = {"mllmu": 25, "umu": 25}
    names = ("mllmu", "umu", "clear", "fiubench", "rows", "conversations", "chat")
    configs = {name: DataConfig(format=name, root=str(root / name), forget=shares.get(name, 5)) for name in names}
    return configs | {"rows": replace(configs["rows"], forget_entities=("001",))}


def test_every_layout_has_a_writer_whose_data_are_read_back(tmp_path: Path):
    for name, config in data_sets(tmp_path).items():
        splits = load(config)
        assert splits.forget, name
        assert not splits.forget_entities & {e.entity for e in splits.retain}, name


def test_a_folder_of_another_format_is_recognised(tmp_path: Path):
    configs = data_sets(tmp_path)
    by_files = [
        (name, stated) for name in ("mllmu", "clear", "fiubench", "rows") for stated in configs if stated != name
    ]
    by_rows = [("umu", "mllmu"), ("chat", "conversations")]
    for name, stated in [*by_files, *by_rows]:
        wrong = replace(configs[stated], root=configs[name].root)
        with pytest.raises(DataError, match=rf"\. The folder looks like {name}: use --data.format {name}$"):
            load(wrong)


@pytest.mark.parametrize("path", ["x", "/a/b", "./a/b", "a/b/c", "../a"])
def test_what_cannot_be_an_id_stays_a_path(path: str):
    assert local_folder(path) == Path(path)


def test_a_folder_is_taken_before_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "org" / "set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert local_folder("org/set") == Path("org/set")


def test_an_id_is_downloaded_as_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = layouts.mllmu(tmp_path / "snapshot")
    downloads = []

    def snapshot_download(name: str, *, repo_type: str, local_files_only: bool) -> str:
        downloads.append((name, repo_type))
        return str(root)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load(DataConfig("mllmu", "org/set", forget=25)).forget_entities == {"001"}
    assert data_hashes("org/set") == data_hashes(root)
    assert downloads == [("org/set", "dataset")] * 2


def test_without_a_network_one_line_says_what_to_do():
    with pytest.raises(DataError) as error:
        load(DataConfig("mllmu", "no-such/data-set-anywhere", forget=25))
    assert str(error.value).startswith("no-such/data-set-anywhere: no such folder, and no data set of that id could be")
    assert str(error.value).endswith("download it where there is a network and give its folder")
    assert "\n" not in str(error.value)


def test_hashes_name_every_file_and_change_with_it(tmp_path: Path):
    (tmp_path / "a" / ".hidden").mkdir(parents=True)
    (tmp_path / "a" / "x.txt").write_bytes(b"1")
    (tmp_path / "a" / ".hidden" / "y").write_bytes(b"2")
    (tmp_path / ".z.part").write_bytes(b"3")
    assert data_hashes(tmp_path) == {"a/x.txt": hashlib.sha256(b"1").hexdigest()}
    before = data_hashes(tmp_path)
    (tmp_path / "a" / "x.txt").write_bytes(b"2")
    assert data_hashes(tmp_path) != before
    with pytest.raises(DataError, match="no such folder"):
        data_hashes(tmp_path / "gone")
