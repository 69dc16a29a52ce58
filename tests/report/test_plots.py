"""The plots: legible on white and dark, safe with any title, and true to the numbers."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from mmunlearner.evaluate.scores import Score
from mmunlearner.report import plots
from mmunlearner.report.drawings import drawings
from mmunlearner.report.figure import COLOURS, dark_mode, inline_svg, png, standalone_svg
from mmunlearner.report.labels import Box, place_labels
from mmunlearner.report.results import Run, load
from mmunlearner.report.template import with_error
from mmunlearner.report.tradeoff import mean, trade_off, trade_off_points


@pytest.fixture(scope="module")
def run(finished: Path) -> Run:
    return load(finished)


def luminance(code: str) -> float:
    parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """Contrast ratio as WCAG defines it, 1 to 21."""
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1])
def test_colours_can_be_read_on_their_paper(mode: int) -> None:
    for name, shades in COLOURS.items():
        least = {"grid": 1.1, "paper": 1.0, "vanilla": 3.0, "target": 3.0}.get(name, 4.5)
        assert contrast(shades[mode], COLOURS["paper"][mode]) >= least, name


def seen(code: str) -> list[float]:
    """Linear RGB as somebody without red (protanopia) or without green cones (deuteranopia) sees it, by Vienot 1999."""
    r, g, b = ((int(code[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5))
    protan, deutan = 0.1124 * r + 0.8876 * g, 0.2928 * r + 0.7072 * g
    return [protan, 0.004 * (r - g) + b, deutan, -0.0223 * (r - g) + b]


@pytest.mark.parametrize("mode", [0, 1])
def test_lines_that_share_a_plot_differ_for_the_colour_blind(mode: int) -> None:
    for pair in (("forget", "retain"), *combinations(("baseline", "method", "oracle"), 2)):
        a, b = (seen(COLOURS[name][mode]) for name in pair)
        for kind in (slice(0, 2), slice(2, 4)):
            assert sum((x - y) ** 2 for x, y in zip(a[kind], b[kind], strict=True)) ** 0.5 > 0.08, pair


def test_each_colour_has_a_code_of_its_own_for_css_to_find() -> None:
    light = [shades[0] for shades in COLOURS.values()]
    assert len(set(light)) == len(light)
    assert all(f'"fill: {code}"' in dark_mode() and f'"stroke: {code}"' in dark_mode() for code in light)


def every_svg(run: Run) -> list[str]:
    figures = {
        "trade": trade_off(run.results),
        "bars": plots.column_bars(run.results, run.results.columns[0]),
        "loss": plots.loss_curves("GA", run.logs["ga"]),
        "mask": plots.saliency_layers(run.masks["vision-projector-language"]),
        "cost": plots.cost(run.results),
    }
    return [inline_svg(figure, name, name) for name, figure in figures.items() if figure]


def test_every_colour_drawn_follows_dark_mode(run: Run) -> None:
    """A colour outside the palette, or black by default, would vanish on dark paper."""
    palette = {code for code, _ in COLOURS.values()}
    for svg in every_svg(run):
        assert set(re.findall(r"(?:fill|stroke): (#\w+)", svg)) <= palette
        for text in re.findall(r"<text[^>]*>", svg):
            assert "fill: #" in text


def test_inline_svg_is_well_formed_names_no_address_and_shares_no_id(run: Run) -> None:
    svgs = every_svg(run)
    ids = [match for svg in svgs for match in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in svgs:
        assert "http" not in svg
        assert "<!--" not in svg
        for target in re.findall(r'(?:href="|url\()#([^")]+)', svg):
            assert target in ids
        ElementTree.fromstring(svg.replace("<svg", '<svg xmlns:xlink="x"', 1))


def test_trade_off_points_are_means_over_their_columns(run: Run) -> None:
    point = next(point for point in trade_off_points(run.results) if point.model.name == "kl_min")
    columns = {"forget_vqa", "forget_vqa_test"}
    scores = {name: metrics["accuracy"] for name, metrics in point.model.scores.items()}
    to_keep = [score.value for name, score in scores.items() if name not in columns]
    assert point.forget.value == pytest.approx(sum(scores[name].value for name in columns) / 2)
    assert point.keep.value == pytest.approx(sum(to_keep) / len(to_keep))
    assert point.keep.stderr <= max(score.stderr for score in scores.values())


def test_a_mean_of_nothing_is_nothing(run: Run) -> None:
    assert mean(run.results.models[0], ()) is None


def test_every_model_is_named_and_has_its_tooltip(run: Run) -> None:
    svg = inline_svg(trade_off(run.results), "t", "t")
    for model in run.results.models:
        assert f">{model.title}</text>" in svg
    assert svg.count("<title>") == len(run.results.models)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "title", ["<script>alert(1)</script>", "--><b>", "50 % & $x_1$ \\frac", "遺忘 模型", "", "a" * 200]
)
def test_any_title_can_be_plotted(run: Run, title: str) -> None:
    models = tuple(replace(model, title=title) for model in run.results.models)
    results = replace(run.results, models=models, columns=tuple(replace(c, title=title) for c in run.results.columns))
    drawn = [trade_off(results), plots.column_bars(results, results.columns[0]), plots.cost(results)]
    drawn.append(plots.loss_curves(title, run.logs["ga"]))
    for figure in drawn:
        assert figure is not None
        svg = inline_svg(figure, "any", title)
        assert not re.search(r"<(script|b)\b", svg)
        ElementTree.fromstring(svg.replace("<svg", '<svg xmlns:xlink="x"', 1))


def test_without_data_there_is_no_figure(run: Run) -> None:
    assert plots.loss_curves("GA", []) is None
    assert plots.loss_curves("GA", [{"step": 1, "forget": None, "retain": None}]) is None
    assert plots.saliency_layers({}) is None
    assert plots.cost(replace(run.results, models=())) is None


def test_one_term_alone_one_step_alone_and_no_saliency_can_be_drawn() -> None:
    one = plots.loss_curves("GA", [{"step": 1, "forget": 0.5}])
    assert one is not None
    assert len(one.axes) == 1
    layer = {
        "name": "a",
        "part": "audio",
        "candidates": 4,
        "selected": 4,
        "saliency_forget": 0.0,
        "saliency_preserve": 0,
    }
    still = plots.saliency_layers({"layers": [layer]})
    assert still is not None
    assert "100 %" in inline_svg(still, "x", "x")


def test_scores_of_zero_error_and_equal_place_can_be_drawn(run: Run) -> None:
    same = {column.name: {"accuracy": Score(1.0, 0.0, 1)} for column in run.results.columns}
    equal = replace(run.results, models=tuple(replace(model, scores=same) for model in run.results.models))
    assert "Vanilla" in inline_svg(trade_off(equal), "x", "x")


def test_the_picture_for_a_readme_stands_alone(run: Run) -> None:
    svg = standalone_svg(trade_off(run.results), 'Forgetting "against" keeping')
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("width"), root.get("height")) == ("760", "470")
    assert "prefers-color-scheme:dark" in svg


def test_the_same_results_give_the_same_bytes(run: Run) -> None:
    assert standalone_svg(trade_off(run.results), "x") == standalone_svg(trade_off(run.results), "x")


# --- values under the pointer ---------------------------------------------------------------------------------------


def shown(figure: Figure | None) -> list[str]:
    """The texts that a figure shows while the pointer is on one of its shapes."""
    assert figure is not None
    root = ElementTree.fromstring(inline_svg(figure, "x", "x").replace("<svg", '<svg xmlns:xlink="x"', 1))
    groups = [group for group in root.iter("g") if group.get("class") == "hover"]
    for group in groups:
        # A shape without any colour would not see the pointer.
        styles = " ".join(shape.get("style") or "" for shape in group.iter())
        assert re.search(r"(fill|stroke): #", styles)
    return [group.findtext("title") or "" for group in groups]


def test_bars_show_score_and_distance_of_every_model(run: Run) -> None:
    for column in run.results.columns:
        texts = shown(plots.column_bars(run.results, column))
        assert len(texts) == len(run.results.models)
        for model in run.results.models:
            score = with_error(model.scores[column.name]["accuracy"])
            (text,) = [text for text in texts if text.startswith(f"{model.title}: ")]
            assert text.startswith(f"{model.title}: {score} %")
            assert ("points from where it should end" in text) == model.unlearned


@pytest.mark.parametrize("steps", [1, 2, plots.MOST_BANDS, plots.MOST_BANDS + 1, 240])
def test_curves_show_the_values_of_their_steps(steps: int) -> None:
    log = [
        {"step": i, "forget": i / 8 if i % 3 == 1 else None, "retain": -i / 4 if steps > 2 else None}
        for i in range(1, steps + 1)
    ]
    texts = shown(plots.loss_curves("GA", log))
    assert 1 <= len(texts) <= plots.MOST_BANDS
    for text in texts:
        step = int(re.findall(r"step (\d+):", text)[0])
        last = step - (step - 1) % 3  # the last step that had a forget batch
        assert f"forget term {last / 8:.3g}" in text
        assert (f"retain term −{step / 4:.3g}" in text) == (steps > 2)


def test_every_layer_and_every_cost_has_its_text(run: Run) -> None:
    mask = run.masks["vision-projector"]
    texts = shown(plots.saliency_layers(mask))
    assert len(texts) == len(mask["layers"])
    for layer in mask["layers"]:
        share = 100 * layer["selected"] / layer["candidates"]
        assert any(text.startswith(f"{layer['name']}: {share:.1f} % selected; mean squared") for text in texts)
    costs = shown(plots.cost(run.results))
    for model in run.results.models:
        assert any(text.startswith(f"{model.title}: evaluate ") for text in costs)


# --- files ----------------------------------------------------------------------------------------------------------


def test_pictures_are_opaque_and_the_same_each_time(run: Run) -> None:
    figure = plots.column_bars(run.results, run.results.columns[0])
    first = png(figure)
    assert png(figure) == first
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.size[0] == 850
        assert picture.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", "Ünï cødé", "con:aux?*"])
def test_no_name_leads_out_of_the_folder_of_plots(run: Run, name: str) -> None:
    models = tuple(replace(model, name=name) if model.name == "ga" else model for model in run.results.models)
    odd = replace(run, results=replace(run.results, models=models), logs={name: run.logs["ga"]})
    (loss,) = [drawing for drawing in drawings(odd) if drawing.section == "losses"]
    assert re.fullmatch(r"loss-[A-Za-z0-9_.-]+", loss.name)


# --- labels ---------------------------------------------------------------------------------------------------------


spots = st.tuples(st.floats(40, 360), st.floats(40, 260))


@given(st.lists(spots, min_size=1, max_size=9, unique=True))
def test_labels_keep_their_size_and_stay_in_bounds(points: list[tuple[float, float]]) -> None:
    bounds = Box(0, 0, 400, 300)
    boxes = place_labels([Box.around(point, 14, 14) for point in points], [(60, 12)] * len(points), bounds)
    for box in boxes:
        assert box.area == pytest.approx(720)
        assert box.overlap(bounds) > 0.5 * box.area


def test_labels_of_well_spread_points_cover_nothing() -> None:
    points = [(60 + 100 * i, 60 + 60 * j) for i in range(3) for j in range(3)]
    marks = [Box.around(point, 14, 14) for point in points]
    boxes = place_labels(marks, [(70, 13)] * 9, Box(0, 0, 400, 300))
    assert all(a.overlap(b) == 0 for a, b in combinations([*boxes, *marks], 2))
