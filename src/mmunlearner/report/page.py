"""The report as one HTML page that opens offline: it loads no script, font or picture."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup

from mmunlearner import __version__
from mmunlearner.data import ImageRef
from mmunlearner.errors import DataError
from mmunlearner.evaluate.metrics import METRICS
from mmunlearner.evaluate.scores import Score
from mmunlearner.report import plots, trials
from mmunlearner.report.criteria import Target, target
from mmunlearner.report.drawings import PLOTS, Drawing
from mmunlearner.report.figure import dark_mode, inline_svg
from mmunlearner.report.findings import findings
from mmunlearner.report.results import HEADLINE, Column, GalleryEntry, Results, Run
from mmunlearner.report.table import html, table
from mmunlearner.report.template import percent, render, source
from mmunlearner.report.tradeoff import trade_off, trade_off_points
from mmunlearner.report.verdict import answers, headline

SIGNS = {"met": "✓", "missed": "✗", "unclear": "?", "note": "·"}
GOALS = {"visual": "visual unlearning (what they look like)", "full": "full unlearning (looks and facts)"}
SECTIONS = {
    "tradeoff": ("trade-off", "Trade-off"),
    "faces": ("gallery", "Before and after"),
    "findings": ("findings", "Findings"),
    "bars": ("columns", "Columns"),
    "losses": ("losses", "Losses"),
    "masks": ("saliency", "Saliency"),
    "cost": ("cost", "Cost"),
}
"""Optional sections: variable of the template -> anchor and title."""
TILES = (
    "forget_vqa_test", "forget_vqa", "forget_qa", "retain_vqa_test", "retain_vqa", "neighbour_vqa", "stranger_vqa",
    "general_vqa", "general_qa", "general",
)  # fmt: skip
"""Columns of the key figures; runs before 2026-11-27 have one column of general ability."""
CHECKS = ("To forget", "To keep")
"""Topics of the findings that the page shows first, each in its own box."""
THUMBNAIL = 192
"""Largest side of a gallery picture, in pixels."""


def page(run: Run, drawn: Sequence[Drawing]) -> str:
    """Write the whole page with the run's plots."""
    results, results_table = run.results, table(run.results)
    by_section = defaultdict(list[Drawing])
    for drawing in drawn:
        by_section[drawing.section].append(drawing)
    all_findings = findings(results)
    by_topic = {topic: [finding for finding in all_findings if finding.topic == topic] for topic in CHECKS}
    # A section that is empty or None is left out, and so is its link.
    sections = {
        "findings": all_findings,
        "tradeoff": _trade_off(results),
        "bars": [_svg(drawing, number) for number, drawing in enumerate(by_section["bars"])],
        "losses": [_svg(drawing, number) for number, drawing in enumerate(by_section["losses"])],
        "masks": _masks(run, by_section["masks"]),
        "faces": sorted((_face(run, entry) for entry in results.gallery), key=lambda face: face["unknown"]),
        "cost": {"steps": plots.step_names(results.models), "plot": _svg(by_section["cost"][0])}
        if by_section["cost"]
        else None,
    }
    return render(
        "report.html.j2",
        results=results,
        headline=headline(results),
        answers=answers(results),
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
        rules=results_table.rules,
        legend=results_table.legend,
        power=results_table.power,
        distance=results_table.distance,
        checks=[(topic, entries) for topic, entries in by_topic.items() if entries],
        others=[finding for finding in all_findings if finding.topic not in CHECKS],
        signs=SIGNS,
        metrics=_further_metrics(results),
        quality=[model for model in results.models if model.forget_quality or model.moved],
        files={f"{PLOTS}/{drawing.name}": drawing.label for drawing in drawn},
        trial_text=trials.explanation(results),
        trial_heads=trials.heads(results),
        trial_rows=trials.rows(results),
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


def _svg(drawing: Drawing, number: int = 0) -> Markup:
    # Numbers, since a name may hold characters that an id may not.
    return Markup(inline_svg(drawing.figure, f"{drawing.section}{number}", drawing.label))


def _trade_off(results: Results) -> dict[str, Markup] | None:
    """Return the figure twice, for wide and for narrow screens."""
    if len(trade_off_points(results)) < 2:
        return None  # one point shows no trade-off
    label = "Forgetting against keeping, one mark per model"
    return {
        "wide": Markup(inline_svg(trade_off(results, width=1060, height=520), "tradeoff", label)),
        "narrow": Markup(inline_svg(trade_off(results, width=330, height=420), "tradeoff-narrow", label)),
    }


def _masks(run: Run, drawn: Sequence[Drawing]) -> list[dict[str, Any]]:
    """Return title, description and plot of each mask.

    A description is `49.0 % of the candidate weights selected; β = 1; ...`.
    """
    masks = []
    for number, drawing in enumerate(drawn):
        mask = run.masks[drawing.subject]
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
        title = ", ".join(model.title for model in run.results.models if model.mask == drawing.subject)
        masks.append({"title": title, "about": "; ".join(facts), "plot": _svg(drawing, number)})
    return masks


# --- gallery --------------------------------------------------------------------------------------------------------


def _face(run: Run, entry: GalleryEntry) -> dict[str, Any]:
    """Return a question about a picture with the answers of vanilla, the main model and the oracle."""
    results = run.results
    models = {"Before": results.vanilla, "After": results.main, "Oracle": results.oracle}
    said = [
        {"who": who, "text": entry.answers[model.name], "right": entry.correct[model.name]}
        for who, model in models.items()
        if model and model.name in entry.answers
    ]
    return {
        "entity": entry.entity,
        "question": entry.question,
        "truth": entry.truth,
        "image": thumbnail(run.directory, entry.image),
        "answers": said,
        # Earlier versions took the first question, known or not.
        "unknown": bool(results.vanilla) and not entry.correct.get(results.vanilla.name, True),
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
