"""The table in its four forms says the same and lets nothing through unescaped."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.fabricated import COLUMNS, MODELS, make_run

from mmunlearner.evaluate.scores import visible_errors
from mmunlearner.report.criteria import best, gap
from mmunlearner.report.results import Results, load, parse
from mmunlearner.report.table import (
    MODEL_COLUMNS,
    VISIBLE,
    Cell,
    Row,
    Table,
    html,
    latex,
    markdown,
    model_column,
    seconds_to_make,
    table,
    titles_by_freedom,
)
from mmunlearner.report.template import escape_latex, least, points
from mmunlearner.report.terminal import tables


@pytest.fixture(scope="module")
def results(finished: Path) -> Results:
    return load(finished).results


@pytest.fixture(scope="module")
def shown(results: Results) -> Table:
    return table(results)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def text_of(row: Row, number: int) -> Cell:
    cell = row.cells[number]
    assert cell is not None
    return cell


def test_references_stand_apart_and_first(shown: Table) -> None:
    assert [name for name, _ in shown.groups] == ["References", "Baselines", "Methods", "Controls"]
    assert [row.model.name for row in shown.rows[:2]] == ["vanilla", "oracle"]
    assert {row.model.name: row.tag for row in shown.rows if row.tag} == {
        "mmunlearner_vision": "chosen",
        "ga_diff_clipped": "control",
        "random_mask": "control",
    }


def test_a_distance_is_to_the_model_that_sets_the_aim_on_paired_items(results: Results, shown: Table) -> None:
    vanilla, oracle = results.models[:2]
    for row in shown.rows:
        for i, column in enumerate(results.columns):
            setter = vanilla if column.good == "kept" else oracle
            value = {
                ("oracle", "vanilla"): lambda model, name: -vanilla.oracle_gap[name].value,
                ("vanilla", "oracle"): lambda model, name: model.oracle_gap[name].value,
            }.get((row.model.name, setter.name))
            if row.model is setter:
                expected = ""
            elif value:
                expected = points(value(row.model, column.name))
            elif setter is oracle:
                expected = points(row.model.oracle_gap[column.name].value)
            else:
                expected = points(row.model.differences["vanilla"][column.name].value)
            assert text_of(row, i).gap == expected


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (("vanilla", "oracle", "ga"), "distance in points to the oracle (→ oracle) or to vanilla (= vanilla)"),
        (("vanilla", "ga"), "distance in points to vanilla (= vanilla)"),
        (("oracle", "ga"), "distance in points to the oracle (→ oracle)"),
        (("ga",), ""),
    ],
)
def test_the_legend_names_the_models_that_distances_are_to(tmp_path: Path, only: tuple[str, ...], words: str) -> None:
    shown = table(load(make_run(tmp_path / "run", count=20, beside=False, only=only)).results)
    assert shown.distance == words
    assert ("In brackets" in markdown(shown)) == bool(words)


def test_gap_without_a_measured_one_is_the_difference_with_both_errors(results_json: dict) -> None:
    for model in results_json["models"]:
        model["oracle_gap"] = None
    parsed = parse(results_json)
    column, ga = parsed.columns[0], parsed.models[2]
    ours, oracle, off = ga.score(column.name), parsed.models[1].score(column.name), gap(parsed, ga, column)
    assert ours is not None
    assert oracle is not None
    assert off is not None
    assert off.value == pytest.approx(ours.value - oracle.value)
    assert off.stderr == pytest.approx((ours.stderr**2 + oracle.stderr**2) ** 0.5)


def test_markdown_has_every_score_and_marks_the_best(results: Results, shown: Table) -> None:
    heads, rule, *lines, last = [cells(line) for line in markdown(shown).splitlines() if line.startswith("|")]
    assert len({len(line) for line in (heads, rule, *lines, last)}) == 1
    assert last == [VISIBLE, *shown.visible]
    assert heads[1:-2] == [f"{c.title} {c.mark}" for c in shown.columns[:-2]]
    for line, row in zip(lines, shown.rows, strict=True):
        for i, column in enumerate(results.columns):
            cell = text_of(row, i)
            assert cell.best == (row.model.name in best(results, column))
            bold = "**" * cell.best
            assert line[i + 1] == f"{bold}{cell.text} ± {cell.error}{bold}" + (f" ({cell.gap})" if cell.gap else "")
        assert line[-2] == (row.model.free or "–")


def test_the_last_row_is_the_smallest_difference_that_is_seen(results: Results, shown: Table) -> None:
    main = results.main
    assert main is not None
    for column, size in zip(results.columns, shown.visible, strict=False):
        paired = main.oracle_gap[column.name] if column.good == "oracle" else main.differences["vanilla"][column.name]
        # No answer in words differs in some columns, so that nothing tells the noise.
        expected = least(visible_errors(paired.entities or 0) * paired.stderr) if paired.stderr else "–"
        assert size == expected
    assert f"so many points must {main.title} truly differ" in markdown(shown)
    for text, escaped in ((str(html(shown)), str), (latex(shown), escape_latex)):
        assert VISIBLE in text
        assert all(escaped(size) in text for size in shown.visible)


def test_without_a_paired_difference_there_is_no_last_row(results: Results) -> None:
    """As of a mean over seeds, whose errors are of another kind."""
    unpaired = replace(results, models=tuple(replace(m, oracle_gap={}, differences={}) for m in results.models))
    for bare in (table(unpaired), table(results, metric="rouge_l"), table(replace(results, models=results.models[:2]))):
        assert bare.visible == ()
        assert not any(VISIBLE in text for text in (markdown(bare), latex(bare), str(html(bare))))


def test_html_bolds_the_best_and_only_them(results: Results, shown: Table) -> None:
    page = str(html(shown))
    assert page.count("<b>") == sum(len(best(results, column)) for column in results.columns)
    assert all(column.title in page and model.title in page for column in results.columns for model in results.models)


def test_latex_has_one_row_a_model_of_equal_width(shown: Table) -> None:
    source = latex(shown)
    rows = [line for line in source.splitlines() if line.endswith(r"\\")]
    assert len(rows) == len(shown.rows) + 3
    assert rows[-1].startswith(VISIBLE)
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(shown.of_form("latex").columns) + 1}
    assert source.count("{") == source.count("}")
    assert source.count(r"\begin") == source.count(r"\end")
    assert source.count(r"\midrule") == len(shown.groups) + 1
    assert source.count(r"\textbf") == sum(cell.best for row in shown.rows for cell in row.cells if cell)


def test_models_of_equal_freedom_are_named_together(results: Results) -> None:
    freedom = titles_by_freedom(results)
    assert freedom["everything, by both terms"] == ["GA", "NPO", "GA_Diff", "KL_Min", "GA_Diff, clipped"]
    assert sum(map(len, freedom.values())) == len(results.unlearned)


def test_a_column_that_a_model_lacks_is_a_dash_in_every_form(tmp_path: Path) -> None:
    def lacking(raw: dict) -> None:
        del raw["models"][2]["scores"]["general"]
        for model in raw["models"]:
            del model["scores"]["neighbour_qa"]

    shown = table(load(make_run(tmp_path / "run", count=20, beside=False, change=lacking)).results)
    titles = [title for name, (title, _) in COLUMNS.items() if name != "neighbour_qa"]
    assert [column.title for column in shown.columns] == [*titles, *(column.title for column in MODEL_COLUMNS)]
    line = next(line for line in markdown(shown).splitlines() if line.startswith("| GA |"))
    assert cells(line)[10] == "–"
    assert ">–</td>" in str(html(shown))
    assert " -- " in latex(shown)


def test_another_metric_has_neither_gap_nor_best(results: Results) -> None:
    shown = table(results, metric="rouge_l")
    assert len(shown.rows) == len(MODELS)
    assert all(cell is None or not (cell.gap or cell.best) for row in shown.rows for cell in row.cells)


def test_titles_are_escaped_in_html(tmp_path: Path) -> None:
    def nasty(raw: dict) -> None:
        raw["models"][0]["title"] = raw["columns"][0]["title"] = raw["models"][2]["free"] = '<i onclick="x">&'

    page = str(html(table(load(make_run(tmp_path / "run", count=20, beside=False, change=nasty)).results)))
    assert "<i " not in page
    assert page.count("&lt;i onclick=&#34;x&#34;&gt;&amp;") == 3


def test_time_is_that_of_making_the_model_once(results: Results) -> None:
    model = replace(results.unlearned[0], seconds={"mask": 2.0, "unlearn": 3.0, "tune": 50.0, "evaluate": 9.0})
    assert seconds_to_make(model) == 5
    assert seconds_to_make(replace(model, seconds={"evaluate": 9.0})) is None


def test_a_new_column_is_one_record_in_every_form(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = model_column("Weights moved", lambda model: model.moved.get("inside"), "{:,}".format)
    monkeypatch.setattr("mmunlearner.report.table.MODEL_COLUMNS", (*MODEL_COLUMNS, weights))
    results_table = table(results)
    console = Console(width=300, file=io.StringIO(), color_system=None)
    console.print(*tables(results_table, width=300))
    for text in (markdown(results_table), latex(results_table), str(html(results_table)), console.file.getvalue()):  # type: ignore[attr-defined]
        assert "Weights moved" in text
        assert text.count("310,000") == sum("inside" in model.moved for model in results.models)
