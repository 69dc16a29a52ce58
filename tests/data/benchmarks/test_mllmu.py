from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.layouts import held_out, image_bytes, mllmu, person, png, training

from mmunlearner.data import ImageRef, Splits, overlap, target
from mmunlearner.data.benchmarks.mllmu import (
    FILE,
    HeldOutPerson,
    Person,
    TrainingPerson,
    find_attribute,
    layout_of,
    load,
    write_split,
)
from mmunlearner.data.tables import read_table
from mmunlearner.errors import DataError

COLUMNS = {
    "forget_vqa", "forget_qa", "forget_vqa_test", "forget_qa_test", "retain_vqa", "retain_qa", "retain_vqa_test",
    "retain_qa_test", "neighbour_vqa", "neighbour_qa",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mllmu(tmp_path_factory.mktemp("mllmu"))


@pytest.fixture(scope="module")
def splits(root: Path) -> Splits:
    return load(root, forget=25)


def test_who_is_where(splits: Splits):
    assert splits.forget_entities == {"001"}
    assert {e.entity for e in splits.retain} == {"002", "003", "004"}
    assert {e.entity for e in splits.text} == {"001", "002", "003", "004"}
    assert set(splits.evaluation) == COLUMNS
    groups = {"forget": {"001"}, "retain": {"002", "003", "004"}, "neighbour": {"005", "006"}}
    for column, items in splits.evaluation.items():
        assert {e.entity for e in items} == groups[column.split("_")[0]], column


def test_columns_hold_one_modality_and_all_tasks(splits: Splits):
    for column, items in splits.evaluation.items():
        assert {e.modality for e in items} == {column.split("_")[1]}
        assert {e.task for e in items} == {"multiple_choice", "generation", "cloze"}


def test_ids_are_unique(splits: Splits):
    ids = [e.id for e in (*splits.vanilla_training, *(e for items in splits.evaluation.values() for e in items))]
    assert len(set(ids)) == len(ids)
    assert "forget_25/001/vqa/multiple_choice/0" in ids


def test_training_questions_are_those_of_ft_data(splits: Splits):
    assert [(e.question, e.answer) for e in splits.forget] == [
        (q["Question"], q["Answer"]) for q in training(0)["metadata"]
    ]
    assert {e.image.data for e in splits.forget if e.image} == {png(0)}
    assert [e.attribute for e in splits.forget] == ["Name", "Occupation", "Residence"]


def test_texts_are_made_of_biographies(splits: Splits):
    assert [(e.question, e.answer) for e in splits.text][:2] == [
        ("What is the occupation of Person A?", "baker"),
        ("What is the residence of Person A?", "Tarn"),
    ]
    assert overlap(splits) == ((), ())


def test_wrong_answers_for_the_truth_ratio(splits: Splits):
    items_by_id = {e.id: e for e in splits.evaluation["forget_qa"]}
    choice = items_by_id["forget_25/001/qa/multiple_choice/0"]
    assert choice.answer == "baker"
    assert set(choice.perturbed) == {"pilot", "nurse", "lawyer"} == set(choice.choices) - {"baker"}
    assert items_by_id["forget_25/001/qa/cloze/0"].perturbed == choice.perturbed
    assert items_by_id["forget_25/001/qa/generation/0"].perturbed == tuple(
        f"They work as a {j}." for j in choice.perturbed
    )
    assert items_by_id["forget_25/001/qa/generation/1"].perturbed == ()
    assert {e.attribute for e in items_by_id.values()} == {"Occupation", "Residence"}


@given(images=st.integers(1, 5))
@settings(max_examples=5)
def test_question_k_is_asked_of_image_k_mod_n(tmp_path_factory: pytest.TempPathFactory, images: int):
    root = mllmu(tmp_path_factory.mktemp("images"))
    write_split(root, "Test_Set", [held_out(n, images) for n in range(4)])
    items = load(root, forget=25).evaluation["forget_vqa_test"]
    assert [e.image.data for e in items if e.image] == [png(100 + k % images) for k in range(len(items))]


def test_several_training_rows_of_one_person_are_views(root: Path, tmp_path: Path):
    shutil.copytree(root, tmp_path / "b")
    write_split(tmp_path / "b", "ft_Data", [training(n, view) for view in range(3) for n in range(4)])
    forget = load(tmp_path / "b", forget=25).forget
    assert len({e.image.key for e in forget if e.image}) == 3
    assert [e.id for e in forget][::3] == ["ft_Data/001/0", "ft_Data/001.2/0", "ft_Data/001.3/0"]


def test_the_published_training_split_is_preferred(root: Path, tmp_path: Path):
    shutil.copytree(root, tmp_path / "b")
    person_row = training(0) | {"metadata": [{"Question": "Who?", "Answer": "Ann"}]}
    write_split(tmp_path / "b", "baseline_train_split/forget_25", [person_row])
    splits = load(tmp_path / "b", forget=25)
    assert [e.question for e in splits.forget] == ["Who?"]
    assert {e.entity for e in splits.retain} == {"002", "003", "004"}


def test_test_set_and_celebrities_may_be_absent(root: Path, tmp_path: Path):
    shutil.copytree(root, tmp_path / "b", ignore=shutil.ignore_patterns("Test_Set", "Retain_Set"))
    assert set(load(tmp_path / "b", forget=25).evaluation) == {"forget_vqa", "forget_qa", "retain_vqa", "retain_qa"}


def options(right: str, **letters: str) -> dict[str, Any]:
    row = person(0)
    row["Classification_Task"]["Pure_Text_Questions"] = [
        {"Question": "Q?", "Options": letters, "Correct_Answer": right}
    ]
    return row


@pytest.mark.parametrize("right", ["B", "b", "B.", "(B)", "B: two", "two", " two "])
def test_the_right_option_may_be_written_in_several_ways(root: Path, tmp_path: Path, right: str):
    shutil.copytree(root, tmp_path / "b")
    write_split(tmp_path / "b", "forget_25", [options(right, A="one", B="two", C="Both")])
    item = load(tmp_path / "b", forget=25).evaluation["forget_qa"][0]
    assert (item.answer, item.choices, item.perturbed) == ("two", ("one", "two", "Both"), ("one", "Both"))


def test_a_gap_in_the_letters_is_closed(root: Path, tmp_path: Path):
    shutil.copytree(root, tmp_path / "b")
    write_split(tmp_path / "b", "forget_25", [options("D", A="one", D="two")])
    item = load(tmp_path / "b", forget=25).evaluation["forget_qa"][0]
    assert (item.choices, target(item)) == (("one", "two"), "B")


@pytest.mark.parametrize(("blank", "standard"), [("___", "__"), ("[Blank]", "__"), ("[blank]", "__"), ("__", "__")])
def test_blanks_are_written_alike(root: Path, tmp_path: Path, blank: str, standard: str):
    shutil.copytree(root, tmp_path / "b")
    row = person(0)
    row["Mask_Task"][0]["Question"] = f"A {blank} of B"
    write_split(tmp_path / "b", "forget_25", [row])
    clozes = [e for e in load(tmp_path / "b", forget=25).evaluation["forget_vqa"] if e.task == "cloze"]
    assert clozes[0].question == f"A {standard} of B"


@pytest.mark.parametrize(("group", "split"), [("neighbour", "Retain_Set"), ("stranger", "Stranger_Set")])
def test_people_beside_whose_numbers_are_counted_anew_are_other_people(
    root: Path, tmp_path: Path, group: str, split: str
):
    shutil.copytree(root, tmp_path / "b")
    somebody = person(0) | {"biography": {"Name": "Somebody Else"}}
    write_split(tmp_path / "b", split, [somebody])
    splits = load(tmp_path / "b", forget=25)
    for kind in ("vqa", "qa"):
        assert {e.entity for e in splits.evaluation[f"{group}_{kind}"]} == {f"{split}/001"}


def break_bench(root: Path, change: Callable[[Path], object]) -> str:
    """The error of a benchmark that was changed."""
    change(root)
    with pytest.raises(DataError) as error:
        load(root, forget=25)
    assert "\n" not in str(error.value)
    return str(error.value)


def set_training(root: Path, numbers: list[int], split: str) -> None:
    write_split(root, split, [training(n) for n in numbers])


BREAKS: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "no such share",
        lambda r: shutil.rmtree(r / "forget_25"),
        "{root}: no split forget_25; there are Full_Set, Retain_Set, Test_Set, ft_Data, retain_75 (other shares: "
        "--data.forget)",
    ),
    ("empty split", lambda r: write_split(r, "retain_75", []), "{root}/retain_75: an empty split; expected a row"),
    (
        "in both sets",
        lambda r: write_split(r, "retain_75", [person(n) for n in range(4)]),
        "{root}: 001 is both in forget_25 and in retain_75; it must be in one",
    ),
    (
        "a person to forget among the neighbours",
        lambda r: write_split(r, "Retain_Set", [person(0)]),
        "{root}: 001 is both in the forget set (ft_Data/001/0) and in the column neighbour_vqa (Retain_Set/001/",
    ),
    ("nothing to train on", lambda r: shutil.rmtree(r / "ft_Data"), "{root}: no split ft_Data; there are Full_Set"),
    (
        "somebody untrained",
        lambda r: set_training(r, [0, 1, 2], "ft_Data"),
        "{root}: no training question about 004, who is in retain_75",
    ),
    (
        "other people in training",
        lambda r: set_training(r, [1], "baseline_train_split/forget_25"),
        "{root}: 001 is in only one of baseline_train_split/forget_25 and forget_25; they must hold the same people",
    ),
    (
        "a wrong letter",
        lambda r: write_split(r, "forget_25", [options("E", A="x", B="y")]),
        "{root}/forget_25/" + FILE + ", row 1, column Classification_Task.Pure_Text_Questions[0].Correct_Answer: "
        "expected one of A, B, or the text of one, found 'E'",
    ),
    (
        "a lone option",
        lambda r: write_split(r, "forget_25", [options("A", A="x")]),
        ".Pure_Text_Questions[0].Options: expected two or more options, found {{",
    ),
    (
        "nobody of the forget set in the test set",
        lambda r: write_split(r, "Test_Set", [held_out(3)]),
        "{root}: nothing to evaluate in forget_vqa_test",
    ),
    (
        "a test set under another name",
        lambda r: shutil.copy(r / "Test_Set" / FILE, r / "forget_25" / FILE),
        "row 1, column image: expected this column, found images (did you mean image?). `images`, a list, belongs to "
        "Test_Set alone",
    ),
    (
        "an evaluation split under another name",
        lambda r: shutil.copy(r / "Full_Set" / FILE, r / "Test_Set" / FILE),
        "row 1, column images: expected this column, found image (did you mean images?). Test_Set holds a list",
    ),
    (
        "a training split under another name",
        lambda r: shutil.copy(r / "ft_Data" / FILE, r / "forget_25" / FILE),
        "column biography: expected this column",
    ),
    (
        "no images of a person",
        lambda r: write_split(r, "Test_Set", [held_out(0), held_out(1, images=0)]),
        "row 2, column images: expected at least one image, found none",
    ),
    (
        "broken parquet",
        lambda r: (r / "forget_25" / FILE).write_bytes(b"PAR1"),
        FILE + ", row 1 or later: broken parquet",
    ),
]


@pytest.mark.parametrize(("change", "message"), [b[1:] for b in BREAKS], ids=[b[0] for b in BREAKS])
def test_what_is_wrong_is_said_in_one_line(root: Path, tmp_path: Path, change: Callable[[Path], object], message: str):
    shutil.copytree(root, tmp_path / "b")
    assert message.format(root=tmp_path / "b") in break_bench(tmp_path / "b", change)


def test_a_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataError, match="gone: no such folder"):
        load(tmp_path / "gone", forget=25)


SPLITS = {
    "Full_Set": person,
    "Retain_Set": person,
    "forget_5": person,
    "Test_Set": held_out,
    "ft_Data": training,
    "baseline_train_split/forget_5": training,
}


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_written_is_read_back(tmp_path: Path, split: str):
    rows = [SPLITS[split](number) for number in range(3)]
    path = write_split(tmp_path, split, rows)
    assert path == tmp_path / split / FILE
    stored = [row for _, row in read_table(tmp_path / split, layout_of(split))]
    assert [plain(row) for row in stored] == [plain(row) for row in rows]


def plain(row: dict) -> dict:
    """A row with its images as bytes."""
    out = {k: v.data if isinstance(v, ImageRef) else v for k, v in row.items()}
    return out | ({"images": [getattr(i, "data", i) for i in row["images"]]} if "images" in row else {})


def test_splits_have_the_layout_of_their_name():
    assert layout_of("Test_Set") is HeldOutPerson
    assert layout_of("retain_95") is Person
    assert layout_of("baseline_train_split/retain_95") is TrainingPerson


def test_equal_rows_give_equal_bytes(tmp_path: Path):
    paths = [write_split(tmp_path / where, "Full_Set", [person(0), person(1)]) for where in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_biography_may_be_json_and_images_may_be_files(tmp_path: Path):
    (tmp_path / "face.jpg").write_bytes(image_bytes(3, "JPEG"))
    row = person(0) | {"biography": '{"Name": "Ann"}', "image": ImageRef(str(tmp_path / "face.jpg"))}
    write_split(tmp_path, "Full_Set", [row])
    _, read = next(read_table(tmp_path / "Full_Set", Person))
    assert read["biography"] == {"Name": "Ann"}
    assert read["image"].data == image_bytes(3, "JPEG")


def test_more_than_four_options_fit(tmp_path: Path):
    row = person(0)
    question = {"Question": "Q?", "Options": dict(zip("ABCDEF", "uvwxyz", strict=True)), "Correct_Answer": "F"}
    row["Classification_Task"]["Pure_Text_Questions"].append(question)
    write_split(tmp_path, "Full_Set", [row])
    _, read = next(read_table(tmp_path / "Full_Set", Person))
    assert read["Classification_Task"] == row["Classification_Task"]


def test_a_bad_row_is_refused_and_nothing_is_written(tmp_path: Path):
    bad = person(1) | {"Mask_Task": [{"Type": "Video", "Question": "q", "Ground_Truth": "a"}]}
    with pytest.raises(DataError, match=r"row 2, column Mask_Task\[0\]\.Type: expected one of Image_Textual, Pure_Te"):
        write_split(tmp_path, "Full_Set", [person(0), bad])
    assert list(tmp_path.iterdir()) == []


def test_other_tools_see_the_images(tmp_path: Path):
    """`datasets` decodes them, as it does those of the published files."""
    write_split(tmp_path, "Full_Set", [person(0)])
    write_split(tmp_path, "Test_Set", [held_out(0)])
    code = (
        "import sys, warnings; warnings.simplefilter('ignore'); from datasets import Dataset\n"
        f"full, test = (Dataset.from_parquet(sys.argv[1] + '/' + s + '/{FILE}') for s in ('Full_Set', 'Test_Set'))\n"
        "print(full[0]['image'].size, [i.size for i in test[0]['images']], full[0]['Mask_Task'][0]['Ground_Truth'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("(8, 8) [(8, 8), (8, 8)] baker"), done.stderr
    assert png(0) == person(0)["image"]


@pytest.mark.parametrize(
    ("question", "answer", "key"),
    [
        ("When?", "1 may 1980", "Date_of_Birth"),
        ("What does her mother do?", "Her mother is a pilot.", "Parents Mother"),
        ("What is her nationality?", "French", "Nationality"),
        ("What is her award?", "None that is known", ""),
        ("What is her height?", "Tall", "Height"),
        ("What?", "nothing", ""),
        ("What?", "a bakery", ""),
    ],
)
def test_the_fact_asked_is_found_by_its_value_or_by_its_name(question: str, answer: str, key: str):
    biography = {"Name": "Ann Lee", "Date_of_Birth": "1 May 1980", "Height": "170", "Parents Mother": "a pilot"}
    biography["Nationality"] = "French"
    assert find_attribute(question, answer, biography) == key
