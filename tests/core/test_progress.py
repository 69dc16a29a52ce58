from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from mmunlearner.core import progress
from mmunlearner.core.progress import Progress, ProgressBar, waiting
from mmunlearner.core.time_left import Stage


class Clock:
    """A clock that the test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_bar(clock: Clock, **costs: float) -> tuple[ProgressBar, io.StringIO]:
    out = io.StringIO()
    return ProgressBar([Stage(costs)], Console(file=out, width=100), clock), out


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each quarter of a minute, and one for the end of each step."""
    clock = Clock()
    bar, out = make_bar(clock, a=60, b=40)
    with bar:
        for name, seconds in (("a", 60), ("b", 40)):
            of_step = bar.child(name)
            for _ in of_step.track(range(seconds), "step"):
                clock.now += 1
            of_step.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("a: step 15/60 (1")
    assert [line for line in lines if "done" in line] == [
        "a: done in 1 min 0 s (60 %, about 41 s left)", "b: done in 40 s (100 %)"
    ]  # fmt: skip
    assert len(lines) == 2 + 4 + 2
    assert out.getvalue() == "time: about 2 min 30 s\ndone in 1 min 40 s\n"


def test_a_step_that_reports_nothing_is_heard_of(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    bar, _ = make_bar(clock, a=60)
    bar.child("a")
    for _ in range(40):
        clock.now += 1
        bar._tick()  # the ticker's call, each second
    assert capsys.readouterr().err.splitlines() == ["a (17 %, about 1 min 15 s left)", "a (33 %, about 1 min 0 s left)"]


def test_lines_become_rarer(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    bar, _ = make_bar(clock, a=36_000)
    for done in bar.child("a").track(range(3600), "step"):
        clock.now = 10.0 * (done + 1)
    assert 120 < len(capsys.readouterr().err.splitlines()) < 400


def test_parts_and_children_share_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    bar, _ = make_bar(clock, a=10, b=10)
    bar.skip("a")
    second_trial = bar.child("b").child("trial 2 of 2").part(1, 2, 2)
    clock.now = 20
    second_trial.part(0, 0.5).update("reference", 4, 4)
    second_trial.part(0.5, 1).update("step", 1, 5)
    clock.now = 40
    bar._tick()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("b: trial 2 of 2: reference 4/4 (")
    assert lines[1].startswith("b: trial 2 of 2: step 1/5 (9")


@pytest.mark.parametrize("total", [0, 3])
def test_no_estimate_says_that_nothing_is_left_before_the_end(
    total: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    clock = Clock()
    bar, _ = make_bar(clock, a=0.0, b=1.0)
    for name in ("a", "b"):
        of_step = bar.child(name)
        for _ in range(2):
            clock.now += 1
            of_step.update("all at once", total, total)
        if name == "a":
            of_step.end()
    assert all("left" in line and "100 %" not in line for line in capsys.readouterr().err.splitlines())


def test_a_terminal_shows_the_time_left() -> None:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=160)
    with ProgressBar([Stage({"unlearn a": 4320 / 1.5})], console, clock) as bar:
        bar.child("unlearn a")
        bar._tick()
        bar._bar.refresh()
    assert "about 1 h 12 min left" in out.getvalue()


def test_waiting_is_named_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.5)
    long, short = io.StringIO(), io.StringIO()
    with waiting("reading the data", Console(file=long)):
        time.sleep(1.3)
    with waiting("reading the data", Console(file=short)):
        pass
    assert long.getvalue() == "reading the data (a few seconds so far)\n"
    assert short.getvalue() == ""


def test_a_tracked_sequence_resumes() -> None:
    assert list(Progress().track("abcd", "letters", start=2)) == ["c", "d"]
