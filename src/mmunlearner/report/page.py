"""The report as one HTML page that opens offline: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from mmunlearner import __version__
from mmunlearner.evaluate.metrics import METRICS
from mmunlearner.evaluate.scores import Score
from mmunlearner.report import plots
from mmunlearner.report.criteria import Target, target
from mmunlearner.report.figure import dark_mode, inline_svg
from mmunlearner.report.findings import Finding, findings, headline
from mmunlearner.report.results import HEADLINE, Column, GalleryEntry, Model, Results, Run
from mmunlearner.report.table import html, table
from mmunlearner.report.template import percent, render, source
from mmunlearner.report.tradeoff import tooltips, trade_off, trade_off_points

SIGNS = {"met": "✓", "missed": "✗", "note": "·"}
GOALS = {"visual": "visual unlearning (what they look like)", "full": "full unlearning (looks and facts)"}
TILES = ("forget_vqa_test", "forget_vqa", "forget_qa", "retain_vqa_test", "retain_vqa", "neighbour_vqa", "general")
CHECKS = ("To forget", "Reported without a bound", "To keep")
"""Topics of findings that stand first, in boxes of their own."""
THUMBNAIL = 192
"""Largest side of a gallery picture, in pixels."""


def page(run: Run) -> str:
    """The whole page."""
    results, shown = run.results, table(run.results)
    sections = {
        "findings": findings(results),
        "tradeoff": _trade_off(results),
        "bars": [_svg(plots.column_bars(results, c), f"bar-{c.name}", c.title) for c in _barred(results)],
        "losses": _losses(run),
        "masks": _masks(run),
        "faces": _faces(run),
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
        contents=_contents(sections),
        table=html(shown),
        legend=shown.legend,
        checks=_checks(sections["findings"]),
        others=[each for each in sections["findings"] if not _is_check(each)],
        signs=SIGNS,
        metrics=_metrics(results),
        quality=[model for model in results.models if model.forget_quality or model.moved],
        settings=[model for model in results.unlearned if model.settings or model.method],
        manifest=_manifest(results.manifest),
        version=__version__,
        **sections,
    )


def _contents(sections: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Anchors and titles of the sections that the run has something for."""
    names = {
        "findings": ("findings", "Findings"),
        "tradeoff": ("trade-off", "Trade-off"),
        "bars": ("columns", "Columns"),
        "losses": ("losses", "Losses"),
        "masks": ("saliency", "Saliency"),
        "faces": ("gallery", "Before and after"),
        "cost": ("cost", "Cost"),
    }
    shown = [where for key, where in names.items() if sections[key]]
    return [("results", "Results"), *shown, ("details", "Details")]


class Tile(NamedTuple):
    """A key figure: the main model's score between vanilla's and the oracle's."""

    column: Column
    aim: Target
    score: Score
    vanilla: Score | None
    oracle: Score | None


def _tiles(results: Results) -> list[Tile]:
    """At most one column of a kind: the stricter set (unseen views) where there is one."""
    main, made = results.main, {}
    for name in TILES:
        column = next((column for column in results.columns if column.name == name), None)
        score = main.score(name) if main else None
        if column and score:
            references = [model.score(name) if model else None for model in (results.vanilla, results.oracle)]
            made.setdefault(name.removesuffix("_test"), Tile(column, target(results, column), score, *references))
    return list(made.values())


def _is_check(finding: Finding) -> bool:
    return finding.topic in CHECKS


def _checks(all_of: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    topics = {topic: [each for each in all_of if each.topic == topic] for topic in CHECKS}
    return [(topic, some) for topic, some in topics.items() if some]


def _svg(figure: Figure | None, name: str, label: str, titles: Mapping[str, str] | None = None) -> Markup | None:
    return None if figure is None else Markup(inline_svg(figure, name, label, titles))


def _trade_off(results: Results) -> dict[str, Markup | None] | None:
    if len(trade_off_points(results)) < 2:
        return None
    label, titles = "Forgetting against keeping, one mark per model", tooltips(results)
    return {
        "wide": _svg(trade_off(results, width=1060, height=520), "tradeoff", label, titles),
        "narrow": _svg(trade_off(results, width=330, height=420), "tradeoff-narrow", label, titles),
    }


def _barred(results: Results) -> list[Column]:
    return [column for column in results.columns if any(model.score(column.name) for model in results.unlearned)]


def _losses(run: Run) -> list[Markup]:
    models = [model for model in run.results.models if model.name in run.logs]
    drawn = [
        _svg(plots.loss_curves(model.title, run.logs[model.name]), f"loss-{i}", f"Losses of {model.title}")
        for i, model in enumerate(models)
    ]
    return [each for each in drawn if each]


def _masks(run: Run) -> list[dict[str, Any]]:
    """The main model's mask first."""
    names = dict.fromkeys(model.mask for model in (run.results.main, *run.results.models) if model and model.mask)
    made = []
    for i, name in enumerate(name for name in names if name in run.masks):
        plot = _svg(plots.saliency_layers(run.masks[name], width=1060), f"mask-{i}", f"Saliency per layer, mask {name}")
        if plot:
            made.append({"title": _mask_title(run, name), "about": _mask_about(run.masks[name]), "plot": plot})
    return made


def _mask_title(run: Run, name: str) -> str:
    return ", ".join(model.title for model in run.results.models if model.mask == name)


def _mask_about(mask: Mapping[str, Any]) -> str:
    """`0.49 of the weights selected ...` in words."""
    said = []
    if isinstance(mask.get("density"), int | float):
        said.append(f"{percent(mask['density'])} % of the candidate weights selected")
    if "beta" in mask:
        said.append(f"β = {mask['beta']:g}")
    if mask.get("unit"):
        said.append(f"gradients squared per {mask['unit']}")
    if mask.get("random"):
        said.append("drawn at random with the same share in each layer: the saliency above was not used")
    return "; ".join(said)


def _faces(run: Run) -> list[dict[str, Any]]:
    shown = [model for model in (run.results.vanilla, run.results.main, run.results.oracle) if model]
    return [_face(run, entry, shown) for entry in run.results.gallery]


def _face(run: Run, entry: GalleryEntry, models: list[Model]) -> dict[str, Any]:
    who = {"vanilla": "Before", "oracle": "Oracle"}
    said = [
        {
            "who": who.get(model.role, "After"),
            "text": entry.answers[model.name],
            "right": entry.correct[model.name],
        }
        for model in models
        if model.name in entry.answers
    ]
    image = thumbnail(run.directory, entry.image)
    return {"entity": entry.entity, "question": entry.question, "truth": entry.truth, "image": image, "said": said}


def thumbnail(directory: Path, relative: str) -> str:
    """A picture of the run directory as a data URI; empty where it is missing, broken or outside the directory."""
    path = (directory / relative).resolve()
    if not relative or not path.is_relative_to(directory.resolve()):
        return ""
    stream = io.BytesIO()
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
            small.save(stream, "PNG", optimize=True)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
        return ""
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _cost(results: Results) -> dict[str, Any] | None:
    steps = plots.step_names(results.models)
    figure = plots.cost(results, width=1060)
    return {"steps": steps, "plot": _svg(figure, "cost", "Seconds and peak memory per model")} if figure else None


def _metrics(results: Results) -> list[tuple[str, Markup]]:
    """A table for each further metric that was measured."""
    measured = {metric: None for model in results.models for column in model.scores.values() for metric in column}
    return [
        (f"{METRICS[metric].title if metric in METRICS else metric}, × 100", html(table(results, metric=metric)))
        for metric in measured
        if metric != HEADLINE
    ]


def _manifest(manifest: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(manifest), sort_keys=False, allow_unicode=True, width=110) if manifest else ""
