"""The table in its four forms says the same and lets nothing through unescaped."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.fabricated import COLUMNS, MODELS, make_run

from mmunlearner.report.goals import best
from mmunlearner.report.results import Results, load
from mmunlearner.report.table import (
    Table,
    by_freedom,
    escape_markdown,
    html,
    latex,
    markdown,
    print_table,
    table,
    terminal,
    tex_escape,
)
from mmunlearner.report.words import percent, points


@pytest.fixture(scope="module")
def results(finished: Path) -> Results:
    return load(finished).results


@pytest.fixture(scope="module")
def shown(results: Results) -> Table:
    return table(results)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_references_stand_apart_and_first(shown: Table) -> None:
    assert [name for name, _ in shown.groups] == ["References", "Baselines", "Methods", "Controls"]
    assert [row.model.name for row in shown.rows[:2]] == ["vanilla", "oracle"]
    assert {row.model.name: row.tag for row in shown.rows if row.tag} == {
        "mmunlearner_vision": "chosen",
        "ga_diff_clipped": "control",
        "random_mask": "control",
    }


def test_gap_is_the_one_that_the_run_measured_on_paired_items(results: Results, shown: Table) -> None:
    for row in shown.rows:
        for column, cell in zip(shown.columns, row.cells, strict=True):
            assert cell is not None
            assert cell.gap == (None if row.model.role == "oracle" else row.model.oracle_gap[column.name])


def test_gap_without_a_measured_one_is_the_difference_with_both_errors(results_json: dict) -> None:
    from mmunlearner.report.results import parse

    for model in results_json["models"]:
        model["oracle_gap"] = None
    rows = {row.model.name: row for row in table(parse(results_json)).rows}
    ours, oracle = rows["ga"].cells[0], rows["oracle"].cells[0]
    assert ours is not None
    assert oracle is not None
    assert ours.gap is not None
    assert ours.gap.value == pytest.approx(ours.score.value - oracle.score.value)
    assert ours.gap.stderr == pytest.approx((ours.score.stderr**2 + oracle.score.stderr**2) ** 0.5)


def test_markdown_has_every_score_and_marks_the_best(results: Results, shown: Table) -> None:
    head, rule, *lines = [cells(line) for line in markdown(shown).splitlines()]
    assert len({len(line) for line in (head, rule, *lines)}) == 1
    assert head[1:-2] == [f"{c.title} {aim.mark}" for c, aim in zip(shown.columns, shown.targets, strict=True)]
    for line, row in zip(lines, shown.rows, strict=True):
        for text, cell, column in zip(line[1:-2], row.cells, shown.columns, strict=True):
            assert cell is not None
            score = f"{percent(cell.score.value)} ± {percent(cell.score.stderr)}"
            bold = row.model.name in best(results, column)
            assert text.startswith(f"**{score}**" if bold else score)
            if cell.gap:
                assert text.endswith(f"({points(cell.gap.value)})")
        assert line[-2] == (row.model.free or "–")


def test_html_bolds_the_best_and_only_them(results: Results, shown: Table) -> None:
    made = str(html(shown))
    assert made.count("<b>") == sum(len(best(results, column)) for column in results.columns)
    assert all(column.title in made and model.title in made for column in results.columns for model in results.models)


def test_latex_has_one_row_a_model_of_equal_width(shown: Table) -> None:
    made = latex(shown)
    rows = [line for line in made.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(shown.rows) + 2
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(shown.columns) + 2}
    assert made.count("{") == made.count("}")
    assert made.count(r"\begin") == made.count(r"\end")
    assert made.count(r"\midrule") == len(shown.groups)
    assert made.count(r"\textbf") == sum(cell.best for row in shown.rows for cell in row.cells if cell)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200, 300])
def test_terminal_fits_its_width_and_breaks_no_score(results: Results, shown: Table, width: int) -> None:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_table(results, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    for row in shown.rows:
        for cell in row.cells:
            assert cell is not None
            assert f"{percent(cell.score.value)} ±{percent(cell.score.stderr)}" in text
    assert sum(part.columns[0].header == "" and len(part.columns) - 1 for part in terminal(shown, width=width)) == 11


def test_models_of_equal_freedom_are_named_together(results: Results) -> None:
    freedom = by_freedom(results)
    assert freedom["everything, by both terms"] == ["GA", "NPO", "GA_Diff", "KL_Min", "GA_Diff, clipped"]
    assert sum(map(len, freedom.values())) == len(results.unlearned)


def test_a_column_that_a_model_lacks_is_a_dash_in_every_form(tmp_path: Path) -> None:
    def lacking(raw: dict) -> None:
        del raw["models"][2]["scores"]["general"]
        for model in raw["models"]:
            del model["scores"]["neighbour_qa"]

    shown = table(load(make_run(tmp_path / "run", count=20, beside=False, change=lacking)).results)
    assert [column.name for column in shown.columns] == [name for name in COLUMNS if name != "neighbour_qa"]
    line = next(line for line in markdown(shown).splitlines() if line.startswith("| GA |"))
    assert cells(line)[10] == "–"
    assert ">–</td>" in str(html(shown))
    assert " -- " in latex(shown)


def test_another_metric_has_neither_gap_nor_best(results: Results) -> None:
    shown = table(results, metric="rouge_l")
    assert len(shown.rows) == len(MODELS)
    assert all(cell is None or (cell.gap is None and not cell.best) for row in shown.rows for cell in row.cells)


NASTY = st.text(st.sampled_from("ab |*_`<>[]\\&%$#{}~^→±−\n\"'"), max_size=20)


@given(NASTY)
def test_markdown_text_stays_in_its_cell(text: str) -> None:
    line = f"| {escape_markdown(text)} | end |"
    assert "\n" not in line
    assert cells(line)[-1] == "end"
    assert len(cells(line)) == 2
    assert not re.search(r"(?<!\\)<", re.sub(r"\\\\", "", line))


@given(NASTY)
def test_latex_text_opens_and_closes_nothing(text: str) -> None:
    bare = re.sub(r"\\text\w+\{\}|\$[^$]*\$|\\[#$%&_{}]", "", tex_escape(text))
    assert not re.search(r"[#$%&_{}\\~^<>]", bare)


def test_titles_are_escaped_in_html(tmp_path: Path) -> None:
    def nasty(raw: dict) -> None:
        raw["models"][0]["title"] = raw["columns"][0]["title"] = raw["models"][2]["free"] = '<i onclick="x">&'

    made = str(html(table(load(make_run(tmp_path / "run", count=20, beside=False, change=nasty)).results)))
    assert "<i " not in made
    assert made.count("&lt;i onclick=&#34;x&#34;&gt;&amp;") == 3


def test_time_is_that_of_making_the_model_once(results: Results) -> None:
    model = replace(results.unlearned[0], seconds={"mask": 2.0, "unlearn": 3.0, "tune": 50.0, "evaluate": 9.0})
    assert table(replace(results, models=(model,))).rows[0].seconds == 5
    assert table(replace(results, models=(replace(model, seconds={"evaluate": 9.0}),))).rows[0].seconds is None
