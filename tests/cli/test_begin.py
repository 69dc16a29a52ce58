"""The first hour of a user: from pictures and facts to a run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mmunlearner.cli import main
from mmunlearner.core.recipes import load_config
from mmunlearner.data.benchmarks.people.world import world
from mmunlearner.run.run import run


def collection(root: Path, people: int, views: int) -> list[str]:
    """Store embedded people as a user has them: a folder of pictures each, and a spreadsheet of facts."""
    group = world().people[:people]
    for person in group:
        folder = root / "photos" / person.name
        folder.mkdir(parents=True)
        for view in range(views):
            person.picture(view).save(folder / f"{view}.jpg")
    with (root / "facts.csv").open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file, delimiter=";")
        table.writerow(["Name", *group[0].facts])
        table.writerows([person.name, *person.facts.values()] for person in group)
    return [person.name for person in group]


def command(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    assert end.value.code == 0


def test_pictures_and_facts_become_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "my people"
    names = collection(root, 6, 3)
    command(
        "init", str(root), "--forget", f'{names[0]},"{names[1]}"', "--neighbours", names[4], "--neighbours", names[5]
    )
    out = capsys.readouterr().out
    assert "forget_vqa_test" in out
    assert f"recipe: {root / 'recipe.yaml'}" in out
    command("run", str(root / "recipe.yaml"), "--dry-run", "--flops", "1e12")
    out = capsys.readouterr().out
    assert "no evaluated question is trained on" in out
    assert "unlearn unlikelihood (2 trials)" in out
    with pytest.raises(SystemExit, match="2"):
        main(["init", str(root), "--forget", names[0]])
    assert "questions.jsonl: exists already; --overwrite replaces" in capsys.readouterr().err


@pytest.mark.slow
def test_the_recipe_runs_to_its_report(tmp_path: Path) -> None:
    root = tmp_path / "c"
    names = collection(root, 6, 3)
    command("init", str(root), "--forget", ",".join(names[:2]), "--neighbours", ",".join(names[4:]))
    methods = [f"methods.{name}.train.steps" for name in ("mmunlearner", "random_mask", "ga_diff")]
    steps = ("finetune.steps", "train.steps", *methods)
    small = dict.fromkeys(steps, "2") | {"evaluate.limit": "6", "out": str(tmp_path / "runs"), "jobs": "1"}
    page = run(load_config(root / "recipe.yaml", small))
    assert page == tmp_path / "runs" / "c" / "report.html"
    assert page.is_file()
