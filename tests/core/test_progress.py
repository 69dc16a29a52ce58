from __future__ import annotations

import io

import pytest
from rich.console import Console

from mmunlearner.core import progress
from mmunlearner.core.progress import Progress, ProgressBar


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)


def make_bar(**work: float) -> ProgressBar:
    return ProgressBar(work, Console(file=io.StringIO()))


@pytest.mark.usefixtures("lines")
def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with make_bar(a=30, b=10) as bar:
        list(bar.child("a").track([0, 1], "step"))
        bar.child("b").child("trial 2 of 2").part(5, 10, 10).update("step", 1, 5)
    texts = capsys.readouterr().err.splitlines()
    assert [text.split(", about")[0] for text in texts] == [
        "a: step 1/2 (38 %", "a: step 2/2 (75 %", "b: trial 2 of 2: step 6/10 (90 %"
    ]  # fmt: skip


@pytest.mark.usefixtures("lines")
def test_work_of_an_earlier_call_does_not_count_in_the_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100.0)
    bar = make_bar(a=80, b=20)
    monkeypatch.setattr(progress.time, "monotonic", lambda: 110.0)
    bar.skip("a")
    bar.child("b").update("step", 5, 10)
    assert capsys.readouterr().err == "b: step 5/10 (90 %, about 10 s left)\n"


def test_a_tracked_sequence_resumes() -> None:
    assert list(Progress().track("abcd", "letters", start=2)) == ["c", "d"]
