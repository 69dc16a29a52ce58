from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmunlearner import cli
from mmunlearner.data import prompt
from mmunlearner.errors import ConfigError, DataError
from mmunlearner.run.run_dir import RunDir
from mmunlearner.run.side_by_side import ask
from mmunlearner.web.panel import Panel


@pytest.fixture(scope="module")
def panel(finished: RunDir) -> Panel:
    return Panel(finished)


def test_models_that_are_there(panel: Panel, finished: RunDir, tmp_path: Path) -> None:
    assert panel.names == ("vanilla", "oracle", "forgetful")
    assert (panel.unlearned, panel.main, panel.title("forgetful")) == (("forgetful",), "forgetful", "Perfect")
    config = replace(finished.config, model=replace(finished.config.model, vanilla="", oracle="", base="tiny"))
    with pytest.raises(ConfigError, match="has no model yet"):
        Panel(RunDir(tmp_path, config))


def test_pictures(panel: Panel) -> None:
    """Each picture of a column once, with all questions about it; columns without pictures are left out."""
    columns = {
        name: [item for item in items if len(item.images) == 1] for name, items in panel.run.splits.evaluation.items()
    }
    assert set(panel.subjects) == {name for name, items in columns.items() if items} < set(columns)
    for column, subjects in panel.subjects.items():
        assert len({subject.image.key for subject in subjects}) == len(subjects)
        assert sum(len(subject.questions) for subject in subjects) == len(columns[column])


def test_answers_are_those_of_ask(panel: Panel) -> None:
    subject = panel.subjects["forget_vqa"][0]
    item = subject.questions[0]
    source = {"vanilla": "people:vanilla", "forgetful": "people:oracle", "oracle": "people:oracle"}
    for name in panel.names:
        [[expected]] = ask([source[name]], [replace(item, question=prompt(item), task="generation")], ["cook", "pilot"])
        assert panel.ask(name, prompt(item), subject.image, ["cook", "pilot"]) == expected
    with pytest.raises(DataError, match="the question is empty"):
        panel.ask("vanilla", " ", None, ())


@pytest.mark.parametrize("missing", ["nicegui", "run"])
def test_refused(missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    if missing == "nicegui":
        monkeypatch.setattr("mmunlearner.web.page.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as caught:
        cli.main(["compare", str(tmp_path)])
    assert caught.value.code == 2
    remedy = {"nicegui": 'pip install "mmunlearner[compare]"', "run": "holds no run"}[missing]
    assert remedy in capsys.readouterr().err
