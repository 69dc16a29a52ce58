from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.layouts import held_out, image_bytes, person, png, training

from mmunlearner.data import ImageRef
from mmunlearner.data.benchmarks.layout import FILE, HeldOutPerson, Person, TrainingPerson, layout_of, write_split
from mmunlearner.data.tables import read_table
from mmunlearner.errors import DataError

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
    found = [row for _, row in read_table(tmp_path / split, layout_of(split))]
    assert [plain(row) for row in found] == [plain(row) for row in rows]


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
