"""The report as one HTML page that opens offline: it loads no script, font or picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup
from matplotlib.figure import Figure

from mmunlearner import __version__
from mmunlearner.data import ImageRef
from mmunlearner.errors import DataError
from mmunlearner.evaluate.metrics import METRICS
from mmunlearner.evaluate.scores import Score
from mmunlearner.report import plots
from mmunlearner.report.criteria import Target, target
from mmunlearner.report.figure import dark_mode, inline_svg
from mmunlearner.report.findings import findings, headline
from mmunlearner.report.results import HEADLINE, Column, GalleryEntry, Results, Run
from mmunlearner.report.table import html, table
from mmunlearner.report.template import percent, render, source
from mmunlearner.report.tradeoff import tooltips, trade_off, trade_off_points

SIGNS = {"met": "✓", "missed": "✗", "note": "·"}
GOALS = {"visual": "visual unlearning (what they look like)", "full": "full unlearning (looks and facts)"}
SECTIONS = {
    "findings": ("findings", "Findings"),
    "tradeoff": ("trade-off", "Trade-off"),
    "bars": ("columns", "Columns"),
    "losses": ("losses", "Losses"),
    "masks": ("saliency", "Saliency"),
    "faces": ("gallery", "Before and after"),
    "cost": ("cost", "Cost"),
}
"""Optional sections: variable of the template -> anchor and title."""
TILES = ("forget_vqa_test", "forget_vqa", "forget_qa", "retain_vqa_test", "retain_vqa", "neighbour_vqa", "general")
"""Columns of the key figures."""
CHECKS = ("To forget", "Reported without a bound", "To keep")
"""Topics of the findings that the page shows first, each in its own box."""
THUMBNAIL = 192
"""Largest side of a gallery picture, in pixels."""


def page(run: Run) -> str:
    """Write the whole page."""
    results, results_table = run.results, table(run.results)
    all_findings = findings(results)
    by_topic = {topic: [finding for finding in all_findings if finding.topic == topic] for topic in CHECKS}
    # A section that is empty or None is left out, and so is its link.
    sections = {
        "findings": all_findings,
        "tradeoff": _trade_off(results),
        "bars": _bars(results),
        "losses": _losses(run),
        "masks": _masks(run),
        "faces": [_face(run, entry) for entry in results.gallery],
        "cost": _cost(results),
    }
    return render(
        "report.html.j2",
        results=results,
        headline=headline(results),
        main=results.main,
        goal=GOALS[results.goal],
        gate_failed=results.gate is not None and not results.gate.passed,
        css=Markup(source("style.css")),
        dark_css=Markup(dark_mode()),
        tiles=_tiles(results),
        contents=[
            ("results", "Results"),
            *(link for variable, link in SECTIONS.items() if sections[variable]),
            ("details", "Details"),
        ],
        table=html(results_table),
        legend=results_table.legend,
        checks=[(topic, entries) for topic, entries in by_topic.items() if entries],
        others=[finding for finding in all_findings if finding.topic not in CHECKS],
        signs=SIGNS,
        metrics=_further_metrics(results),
        quality=[model for model in results.models if model.forget_quality or model.moved],
        settings=[model for model in results.unlearned if model.settings or model.method],
        # As YAML, which is also the form of a recipe: a reader can copy from it.
        manifest=yaml.safe_dump(dict(results.manifest), sort_keys=False, allow_unicode=True, width=110)
        if results.manifest
        else "",
        version=__version__,
        **sections,
    )


class Tile(NamedTuple):
    """A key figure: the main model's score between vanilla's and the oracle's."""

    column: Column
    aim: Target
    score: Score
    vanilla: Score | None
    oracle: Score | None


def _tiles(results: Results) -> list[Tile]:
    """Return the key figures: one for each set, or for its unseen views instead if the run has them."""
    columns = {column.name: column for column in results.columns}
    tiles: dict[str, Tile] = {}
    for name in TILES:
        score = results.main.score(name) if results.main else None
        if name in columns and score:
            levels = [model.score(name) if model else None for model in (results.vanilla, results.oracle)]
            tile = Tile(columns[name], target(results, columns[name]), score, *levels)
            # Unseen views come first in TILES: they are the stricter test of the same set.
            tiles.setdefault(name.removesuffix("_test"), tile)
    return list(tiles.values())


def _further_metrics(results: Results) -> list[tuple[str, Markup]]:
    """Return title and table of each metric other than the accuracy."""
    # A dict keeps their order. A metric that this version does not know shows by its name.
    measured = {metric: None for model in results.models for scores in model.scores.values() for metric in scores}
    titles = {metric: METRICS[metric].title if metric in METRICS else metric for metric in measured}
    return [
        (f"{title}, × 100", html(table(results, metric=metric)))
        for metric, title in titles.items()
        if metric != HEADLINE
    ]


# --- plots ----------------------------------------------------------------------------------------------------------


def _svg(figure: Figure, name: str, label: str, titles: Mapping[str, str] | None = None) -> Markup:
    return Markup(inline_svg(figure, name, label, titles))


def _trade_off(results: Results) -> dict[str, Markup] | None:
    """Return the figure twice, for wide and for narrow screens."""
    if len(trade_off_points(results)) < 2:
        return None  # one point shows no trade-off
    label, titles = "Forgetting against keeping, one mark per model", tooltips(results)
    return {
        "wide": _svg(trade_off(results, width=1060, height=520), "tradeoff", label, titles),
        "narrow": _svg(trade_off(results, width=330, height=420), "tradeoff-narrow", label, titles),
    }


def _bars(results: Results) -> list[Markup]:
    return [
        _svg(plots.column_bars(results, column), f"bar-{column.name}", column.title)
        for column in results.columns
        if any(model.score(column.name) for model in results.unlearned)
    ]


def _losses(run: Run) -> list[Markup]:
    # In the order of the tables, not of the files.
    models = [model for model in run.results.models if model.name in run.logs]
    figures = [plots.loss_curves(model.title, run.logs[model.name]) for model in models]
    return [
        _svg(figure, f"loss-{i}", f"Losses of {model.title}")
        for i, (model, figure) in enumerate(zip(models, figures, strict=True))
        if figure
    ]


def _masks(run: Run) -> list[dict[str, Any]]:
    """Return title, description and plot of each mask, the main model's first.

    A description is `49.0 % of the candidate weights selected; β = 1; ...`.
    """
    results = run.results
    # A dict, since several models may share a mask.
    names = dict.fromkeys(model.mask for model in (results.main, *results.models) if model and model.mask in run.masks)
    masks = []
    for i, name in enumerate(names):
        mask = run.masks[name]
        figure = plots.saliency_layers(mask, width=1060)
        if figure is None:
            continue
        # Statistics of earlier versions lack some of these fields.
        facts = []
        if isinstance(mask.get("density"), int | float):
            facts.append(f"{percent(mask['density'])} % of the candidate weights selected")
        if "beta" in mask:
            facts.append(f"β = {mask['beta']:g}")
        if mask.get("unit"):
            facts.append(f"gradients squared per {mask['unit']}")
        if mask.get("random"):
            facts.append("drawn at random with the same share in each layer: the saliency above was not used")
        title = ", ".join(model.title for model in results.models if model.mask == name)
        plot = _svg(figure, f"mask-{i}", f"Saliency per layer, mask {name}")
        masks.append({"title": title, "about": "; ".join(facts), "plot": plot})
    return masks


def _cost(results: Results) -> dict[str, Any] | None:
    figure = plots.cost(results, width=1060)
    if figure is None:
        return None
    return {
        "steps": plots.step_names(results.models),
        "plot": _svg(figure, "cost", "Seconds and peak memory per model"),
    }


# --- gallery --------------------------------------------------------------------------------------------------------


def _face(run: Run, entry: GalleryEntry) -> dict[str, Any]:
    """Return a question about a picture with the answers of vanilla, the main model and the oracle."""
    results = run.results
    models = {"Before": results.vanilla, "After": results.main, "Oracle": results.oracle}
    answers = [
        {"who": who, "text": entry.answers[model.name], "right": entry.correct[model.name]}
        for who, model in models.items()
        if model and model.name in entry.answers
    ]
    return {
        "entity": entry.entity,
        "question": entry.question,
        "truth": entry.truth,
        "image": thumbnail(run.directory, entry.image),
        "answers": answers,
    }


def thumbnail(directory: Path, relative: str) -> str:
    """Return a picture of the run directory as a data URI; empty if it is missing, broken or outside the directory."""
    # A run directory from elsewhere must not make the report show another file of this computer.
    path = (directory / relative).resolve()
    if not relative or not path.is_relative_to(directory.resolve()):
        return ""
    try:
        small = ImageRef(str(path)).open()
    except DataError:
        return ""
    stream = io.BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
