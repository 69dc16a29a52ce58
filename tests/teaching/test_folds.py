"""Oracles of the folds: the same bits in one go and resumed, and each without the people of its fold."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.progress import Listener

from mmunlearner.errors import ConfigError
from mmunlearner.models.sources import ASSETS
from mmunlearner.teaching.folds import stages, train_oracles
from mmunlearner.teaching.train import Recipe

BRIEF = Recipe(vision_steps=2, exercise_steps=2, text_steps=2, picture_steps=2, steps=2, polish_steps=2)


def weights(folder: Path, fold: str) -> bytes:
    return (folder / fold / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_oracles_do_not_depend_on_those_beside_them_or_on_interruptions(tmp_path: Path) -> None:
    ticks: list[str] = []
    together, apart = tmp_path / "together", tmp_path / "apart"
    listener = Listener(lambda title, *_: ticks.append(title))
    train_oracles(together, ("4", "1"), recipe=BRIEF, progress=listener)
    assert len({title.split(":")[0] for title in ticks}) == len(stages(tmp_path / "new", ("4", "1"), BRIEF))
    train_oracles(apart, ("1",), recipe=BRIEF)
    train_oracles(apart, ("1", "4"), recipe=BRIEF)
    for fold in ("1", "4"):
        assert weights(together, fold) == weights(apart, fold)
    assert weights(together, "1") != weights(together, "4")
    ticks.clear()
    train_oracles(together, ("4", "1"), recipe=BRIEF, progress=listener)  # all there: nothing is made
    assert not ticks


def test_the_oracle_of_fold_12_is_the_shipped_one(tmp_path: Path) -> None:
    train_oracles(tmp_path, ("12",))
    assert weights(tmp_path, "12") == (ASSETS / "oracle" / "model.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12"]  # no base is trained for it
    assert stages(tmp_path, ("12",), BRIEF) == {}


def test_a_fold_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--folds 12z: no such fold; did you mean 12"):
        train_oracles(tmp_path / "out", ("4", "12z"))
    assert not (tmp_path / "out").exists()
