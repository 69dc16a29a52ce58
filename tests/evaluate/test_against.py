"""One evaluation beside that of the model before unlearning, from saved answers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmunlearner.core.files import write_jsonl
from mmunlearner.evaluate.against import Against

COLUMNS = ("forget_vqa", "forget_qa", "neighbour_vqa")


def write(folder: Path, **right: int) -> Path:
    """Write the answers to 20 questions of each column, so many of them right; each entity has four of them."""
    for column, count in right.items():
        lines = [
            {"id": f"{column}/{i}", "entity": f"entity {i % 5}", "column": column, "task": "generation",
             "prompt": "Where?", "answer": "Turin", "target": "Turin", "output": "Turin" if i < count else "Pisa"}
            for i in range(20)
        ]  # fmt: skip
        folder.mkdir(exist_ok=True)
        write_jsonl(folder / f"{column}.jsonl", lines)
    return folder


@pytest.mark.parametrize(("left", "hardly"), [(20, True), (17, True), (14, False), (2, False)])
def test_it_is_said_when_hardly_anything_was_forgotten(tmp_path: Path, left: int, hardly: bool) -> None:
    before = write(tmp_path / "vanilla", forget_vqa=20, forget_qa=20, neighbour_vqa=20)
    after = write(tmp_path / "unlearned", forget_vqa=left, forget_qa=20, neighbour_vqa=20)
    against = Against.of("vanilla", before, after)
    assert against.differences["forget_vqa"].value == pytest.approx((left - 20) / 20)
    assert against.verdict.startswith("Hardly anything was forgotten" if hardly else "Accuracy on the images to forget")
    assert f"forget_vqa 100.0 -> {5 * left}.0" in against.verdict
    assert ("train.steps" in against.verdict) is hardly
    assert "Lost" not in against.verdict


def test_what_was_lost_with_it_is_named(tmp_path: Path) -> None:
    before = write(tmp_path / "vanilla", forget_vqa=20, forget_qa=20, neighbour_vqa=20)
    after = write(tmp_path / "unlearned", forget_vqa=2, forget_qa=20, neighbour_vqa=10)
    assert Against.of("vanilla", before, after).verdict.endswith("Lost as well: neighbour_vqa 100.0 -> 50.0.")


def test_only_questions_that_both_were_asked_are_compared(tmp_path: Path) -> None:
    before = write(tmp_path / "vanilla", forget_vqa=20, retain_vqa=20)
    after = write(tmp_path / "unlearned", forget_vqa=4, forget_qa=20)
    lines = (after / "forget_vqa.jsonl").read_text().splitlines(keepends=True)
    (after / "forget_vqa.jsonl").write_text("".join(lines[:8]))
    against = Against.of("vanilla", before, after)
    assert {column: gap.n for column, gap in against.differences.items()} == {"forget_vqa": 8}
    assert against.scores.columns["forget_vqa"]["accuracy"].n == 8


def test_without_images_to_forget_nothing_is_claimed(tmp_path: Path) -> None:
    before, after = write(tmp_path / "a", general=20), write(tmp_path / "b", general=3)
    assert Against.of("a", before, after).verdict.startswith("Neither evaluation asks about images to forget")
