"""The table on a terminal: it fits any width, breaks no word or score, and says the same at every width."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.fabricated import make_run

from mmunlearner.report.results import Results, load
from mmunlearner.report.table import table
from mmunlearner.report.terminal import even_slices, print_report, tables
from mmunlearner.report.verdict import answers, headline

WIDTHS = [40, 60, 79, 80, 100, 120, 200, 300]


@pytest.fixture(scope="module")
def results(finished: Path) -> Results:
    return load(finished).results


def printed(results: Results, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_report(results, console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_score_and_word_is_whole_at_every_width(results: Results, width: int) -> None:
    lines = printed(results, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for row in table(results).rows:
        for cell in row.cells[: len(results.columns)]:
            assert cell is not None
            assert f"{cell.text} ±{cell.error}" in text
    words = {word for model in results.models for word in model.title.split()}
    words |= {word for column in results.columns for word in column.title.split()}
    assert words <= set(re.split(r"\s+", text.replace(":", "")))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_verdict_stands_at_the_end_of_every_width(results: Results, width: int) -> None:
    text = " ".join(" ".join(printed(results, width)).split())
    summary = headline(results)
    assert summary.title in text
    for answer in answers(results):
        assert f"{answer.question} {answer.word}: {answer.text}" in text
    assert text.endswith(answers(results)[-1].text)


def test_eighty_columns_need_two_tables_of_like_size(results: Results) -> None:
    assert [len(part.columns) - 1 for part in tables(table(results), width=80)] == [6, 5]


@given(st.lists(st.integers(1, 15), min_size=1, max_size=20), st.integers(0, 120))
def test_columns_are_cut_into_few_tables_that_fit(widths: list[int], room: int) -> None:
    slices = even_slices(widths, room)
    bounds = [part.start for part in slices] + [slices[-1].stop]
    assert bounds[0] == 0
    assert bounds[-1] == len(widths)
    assert all(start < stop for start, stop in pairwise(bounds))
    sizes = [part.stop - part.start for part in slices]
    assert max(sizes) - min(sizes) <= 1
    if room >= max(widths):
        assert all(sum(widths[part]) <= room for part in slices)


def test_a_name_longer_than_the_terminal_is_shown_whole(tmp_path: Path) -> None:
    def rename(raw: dict) -> None:
        raw["models"][2]["title"] = "x" * 70

    lines = printed(load(make_run(tmp_path / "run", count=20, beside=False, change=rename)).results, 60)
    assert max(map(len, lines)) <= 60
    # Once beside the scores of each table; there is no other way than to break it.
    assert sum(line.count("x") for line in lines) >= 70
