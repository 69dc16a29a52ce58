"""Training: the same bits twice, and (slow) models that know what the shipped ones know."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.progress import Listener
from support.shipped import VANILLA

from mmunlearner.core.progress import Progress
from mmunlearner.errors import DataError, TrainingError
from mmunlearner.teaching.train import Recipe, side_by_side, train_vanilla_and_oracle

BRIEF = Recipe(vision_steps=2, exercise_steps=2, text_steps=2, picture_steps=2, steps=2, polish_steps=2)


def weights(folder: Path) -> list[bytes]:
    return [(folder / name / "model.safetensors").read_bytes() for name in ("vanilla", "oracle")]


@pytest.mark.slow
def test_equal_seeds_give_equal_bits(tmp_path: Path) -> None:
    ticks: list[str] = []
    train_vanilla_and_oracle(tmp_path / "a", recipe=BRIEF, progress=Listener(lambda title, *_: ticks.append(title)))
    train_vanilla_and_oracle(tmp_path / "b", recipe=BRIEF)
    train_vanilla_and_oracle(tmp_path / "c", recipe=BRIEF, seed=1)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert weights(tmp_path / "a") != weights(tmp_path / "c")
    assert weights(tmp_path / "a")[0] != weights(tmp_path / "a")[1]
    assert len(ticks) == sum(BRIEF.stages.values())
    assert {title.split(":")[0] for title in ticks} == {"vision", "exercises", "texts", "pictures", "vanilla", "oracle"}


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(TrainingError, match="step"):
        train_vanilla_and_oracle(tmp_path, recipe=replace(BRIEF, vision_steps=6, vision_learning_rate=1e30))
    assert not (tmp_path / "vanilla").exists()


def test_a_stage_that_fails_ends_the_one_beside_it() -> None:
    ticks: list[str] = []

    def fails(progress: Progress) -> None:
        raise TrainingError("at once")

    def goes_on(progress: Progress) -> None:
        while True:
            progress.update("other", 0, 1)

    with pytest.raises(TrainingError, match="at once"):
        side_by_side([goes_on, fails], Listener(lambda title, *_: ticks.append(title)))
    assert set(ticks) <= {"other"}


def test_a_file_is_no_folder_for_models(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="a file"):
        train_vanilla_and_oracle(tmp_path / "file")


@pytest.mark.slow
@pytest.mark.timeout(4500)
def test_the_shipped_models_can_be_remade(tmp_path: Path) -> None:
    """A quarter of an hour on two cores. Another processor rounds otherwise, which may cost some items."""
    accuracies = train_vanilla_and_oracle(tmp_path)
    slack = 0.04
    assert set(accuracies) == {"vanilla", "oracle"}
    for column, least in VANILLA.items():
        assert accuracies["vanilla"][column] > least - slack, column
    for column in ("forget_vqa", "forget_vqa_test"):
        assert accuracies["oracle"][column] < 0.15 + 0.1
    for column in (
        "forget_qa",
        "retain_vqa",
        "retain_vqa_test",
        "retain_qa",
        "neighbour_vqa",
        "neighbour_qa",
        "stranger_vqa",
        "stranger_qa",
        "general_vqa",
        "general_qa",
    ):
        assert abs(accuracies["oracle"][column] - accuracies["vanilla"][column]) < 0.03 + slack, column
