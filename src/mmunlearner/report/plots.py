"""Figures of the report: results in, a matplotlib figure in the common style out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from mmunlearner.report.criteria import bound, gap, target
from mmunlearner.report.figure import FAINT, canvas, colour, house_style, hover, hover_bands, without_background
from mmunlearner.report.results import HEADLINE, Column, Model, Results
from mmunlearner.report.template import MINUS, duration, memory, percent, signed, with_error
from mmunlearner.report.tradeoff import trade_off

__all__ = ["column_bars", "cost", "loss_curves", "saliency_layers", "trade_off"]

Steps = Sequence[Mapping[str, Any]]
TERMS = {"forget": "forget term", "retain": "retain term"}
MOST_BANDS = 40
"""Places of a curve that show their values: more would make the page heavy."""
PART_NAMES = {"vision": "vision encoder", "projector": "projector", "language": "language model"}


# --- one column against the oracle and vanilla ----------------------------------------------------------------------


def column_bars(results: Results, column: Column, *, width: float = 340) -> Figure:
    """Draw a bar per unlearned model with its standard error; lines for oracle and vanilla, a band for the aim."""
    models = [model for model in results.unlearned if model.score(column.name)]
    with house_style():
        figure = canvas(width, 19 * len(models) + 62, left=132, right=14, bottom=22, top=38)
        axes = without_background(figure.add_subplot())
        # At the left edge of the figure: x counts in widths of the axes, 132 px to their left.
        axes.set_title(column.title, weight="bold", x=-132 / (width - 146))
        axes.grid(axis="y", visible=False)
        aim = target(results, column)
        if aim.value is not None:
            allowed = bound(column)
            # Both sides of the oracle are bounded; above vanilla is no loss.
            top = aim.value + allowed if column.good == "oracle" else 1.04
            axes.axvspan(100 * (aim.value - allowed), 100 * top, color=colour("target"), alpha=0.13, lw=0)
        # Solid and dashed, since colours alone do not reach every reader.
        for reference, line in ((results.oracle, "-"), (results.vanilla, (0, (3, 2)))):
            level = reference.score(column.name) if reference else None
            if reference and level:
                rule = axes.axvline(100 * level.value, color=colour(reference.role), lw=1.6, ls=line, zorder=3)
                hover(rule, f"{reference.title}: {with_error(level)} %")
        for row, model in enumerate(models):
            score = model.scores[column.name][HEADLINE]
            value, error, alpha = 100 * score.value, 100 * score.stderr, 1.0 if model.chosen else 0.6
            axes.barh(row, value, height=0.62, color=colour(model.role), alpha=alpha, lw=0)
            axes.errorbar(value, row, xerr=error, fmt="none", color=colour("ink"), elinewidth=1.2, capsize=2)
            distance = gap(results, model, column)
            away = f", {signed(distance)} points from where it should end" if distance else ""
            # The whole row, since a bar may have no length.
            row_band = Rectangle((0, row - 0.5), 104, 1, color=colour("ink"), alpha=FAINT, lw=0)
            hover(axes.add_artist(row_band), f"{model.title}: {with_error(score)} %{away}")
        axes.set_yticks(range(len(models)), [_clipped(model.title) for model in models], size=10.5)
        axes.set_ylim(len(models) - 0.4, -0.6)  # the first model is at the top
        axes.set_xlim(0, 104)  # a bar or line at 100 % stays visible, error bar and all
        axes.set_xticks([0, 25, 50, 75, 100])
    return figure


def _clipped(title: str, most: int = 22) -> str:
    return title if len(title) <= most else f"{title[: most - 1]}…"


# --- losses ---------------------------------------------------------------------------------------------------------


def loss_curves(title: str, steps: Steps, *, width: float = 340, height: float = 230) -> Figure | None:
    """Draw both terms of the loss, each on its own axes; None if the log has neither."""
    # On own axes, since an ascended loss grows to many times the retain loss and would flatten it.
    curves = {
        term: [(step["step"], step[term]) for step in steps if isinstance(step.get(term), int | float)]
        for term in TERMS
    }
    curves = {term: curve for term, curve in curves.items() if curve}
    if not curves:
        return None
    with house_style():
        figure = canvas(width, height, left=42, right=12, bottom=36, top=44)
        figure.subplots_adjust(hspace=0.55)
        panels = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (term, curve) in zip(panels, curves.items(), strict=True):
            without_background(axes)
            # Without a marker a single step would be invisible.
            axes.plot(*zip(*curve, strict=True), color=colour(term), marker="o" if len(curve) < 3 else "", ms=4)
            axes.text(0, 1.06, TERMS[term], transform=axes.transAxes, va="bottom", size=10, color=colour(term))
            axes.margins(x=0.01, y=0.18)
            axes.locator_params(axis="y", nbins=3)
            axes.tick_params(labelsize=9.5)
        hover_bands(panels[-1], *_step_texts(curves), above=panels[0])
        panels[0].set_title(_clipped(title, 40), weight="bold", x=-42 / (width - 54), pad=20)
        panels[-1].set_xlabel("optimizer step", size=10)
    return figure


def _step_texts(curves: Mapping[str, Sequence[tuple[int, float]]]) -> tuple[dict[float, str], float]:
    """Return x -> text of at most MOST_BANDS steps, and the distance of two of them on the axis."""
    values = {term: dict(curve) for term, curve in curves.items()}
    steps = sorted({step for curve in values.values() for step in curve})
    stride = -(-len(steps) // MOST_BANDS)
    texts, latest = {}, {}
    for number, step in enumerate(steps):
        # A step without a forget batch shows the forget term of the last one that had it.
        latest |= {
            TERMS[term]: f"{curve[step]:.3g}".replace("-", MINUS) for term, curve in values.items() if step in curve
        }
        if number % stride == stride // 2:
            texts[float(step)] = f"step {step}: {', '.join(f'{term} {value}' for term, value in latest.items())}"
    return texts, stride * (steps[-1] - steps[0]) / max(len(steps) - 1, 1) or 1.0


# --- saliency -------------------------------------------------------------------------------------------------------


def saliency_layers(mask: Mapping[str, Any], *, width: float = 760, height: float = 340) -> Figure | None:
    """Draw each linear layer's mean saliency for forgetting and for preserving, and the share that the mask selects."""
    layers = [layer for layer in mask.get("layers", ()) if layer.get("candidates")]
    if not layers:
        return None
    layers.sort(key=lambda layer: list(PART_NAMES).index(layer["part"]) if layer["part"] in PART_NAMES else 9)
    with house_style():
        figure = canvas(width, height, left=64, right=14, bottom=48, top=30)
        figure.subplots_adjust(hspace=0.16)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1.25, 1])
        _saliency_panel(without_background(above), layers)
        _selected_panel(without_background(below), layers, mask)
        _part_bands((above, below), layers)
        below.set_xlim(-0.6, len(layers) - 0.4)
        hover_bands(below, {float(i): _layer_text(layer) for i, layer in enumerate(layers)}, 1.0, above=above)
        above.legend(loc="lower right", bbox_to_anchor=(1, 1.02), ncols=2, borderaxespad=0, handlelength=1.4)
    return figure


def _layer_text(layer: Mapping[str, Any]) -> str:
    """`vision.layers.0.attn.q_proj: 49.0 % selected, mean squared gradient forget 1e-05, preserve 2e-05`"""
    share = percent(layer["selected"] / layer["candidates"])
    terms = [("forget", layer.get("saliency_forget")), ("preserve", layer.get("saliency_preserve"))]
    saliency = ", ".join(f"{name} {value:.2g}" for name, value in terms if value is not None)
    about = f"; mean squared gradient: {saliency}" if saliency else ""
    return f"{layer.get('name', '')}: {share} % selected{about}"


def _saliency_panel(axes: Axes, layers: Sequence[Mapping[str, Any]]) -> None:
    """Draw mean saliencies on a log scale, on which a layer without any gradient leaves a gap."""
    for key, term, name in (("saliency_forget", "forget", "forget"), ("saliency_preserve", "retain", "preserve")):
        values = [layer.get(key) or float("nan") for layer in layers]  # a log scale has no zero
        style = {"marker": "o" if term == "forget" else "s", "ms": 4 if len(layers) < 60 else 0}
        axes.plot(range(len(layers)), values, color=colour(term), lw=1.3, label=name, **style)
    # Without a positive value a log scale has no range.
    if any((layer.get("saliency_forget") or 0) > 0 for layer in layers):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
        axes.yaxis.set_major_formatter(FuncFormatter(_power))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("mean squared\ngradient", size=10.5)
    axes.grid(axis="x", visible=False)


def _selected_panel(axes: Axes, layers: Sequence[Mapping[str, Any]], mask: Mapping[str, Any]) -> None:
    shares = [100 * layer["selected"] / layer["candidates"] for layer in layers]
    axes.bar(range(len(layers)), shares, width=0.72, color=colour("method"), lw=0, alpha=0.85)
    if isinstance(density := mask.get("density"), int | float):
        axes.axhline(100 * density, color=colour("ink"), lw=1, ls=(0, (3, 2)))
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("selected, %", size=10.5)
    axes.grid(axis="x", visible=False)


def _power(value: float, _: object = None) -> str:
    """3e-06 -> 3e−6"""
    digits, exponent = f"{value:.0e}".split("e")
    return f"{digits}e{int(exponent)}".replace("-", MINUS)


def _part_bands(panels: Iterable[Axes], layers: Sequence[Mapping[str, Any]]) -> None:
    """Separate the parts of the model by lines, and write their names and selected shares below."""
    above, below = panels
    start, ticks = 0, {}
    for part, members in groupby(layers, key=lambda layer: layer["part"]):
        group = list(members)
        share = sum(layer["selected"] for layer in group) / sum(layer["candidates"] for layer in group)
        # Full names of narrow parts would run into their neighbours: `vision` instead of `vision encoder`.
        narrow = len(group) < 0.2 * len(layers)
        ticks[start + (len(group) - 1) / 2] = f"{part if narrow else PART_NAMES.get(part, part)}\n{100 * share:.0f} %"
        for axes in (above, below):
            if start:
                axes.axvline(start - 0.5, color=colour("muted"), lw=0.8)
        start += len(group)
    below.set_xticks(list(ticks), list(ticks.values()))


# --- cost -----------------------------------------------------------------------------------------------------------

_STEP_ORDER = ("finetune", "mask", "unlearn", "tune", "evaluate")
_STEP_COLOURS = ("method", "baseline", "control", "oracle", "vanilla")


def cost(results: Results, *, width: float = 760) -> Figure | None:
    """Draw seconds per step and the largest memory of each model; None if no model has either."""
    models = [model for model in results.models if model.seconds or model.peak_memory_bytes]
    if not models:
        return None
    steps = step_names(models)
    with house_style():
        figure = canvas(width, 21 * len(models) + 70, left=150, right=52, bottom=8, top=58)
        figure.subplots_adjust(wspace=0.32)
        times, sizes = figure.subplots(1, 2, sharey=True, width_ratios=[1.6, 1])
        without_background(times)
        ends = [0.0] * len(models)  # of the bars so far: the steps of a model are stacked
        for i, step in enumerate(steps):
            spent = [model.seconds.get(step, 0.0) for model in models]
            ink = colour(_STEP_COLOURS[i % len(_STEP_COLOURS)])
            bars = times.barh(
                range(len(models)), spent, left=ends, height=0.62, color=ink, alpha=0.85, lw=0, label=step
            )
            for bar, model, seconds in zip(bars.patches, models, spent, strict=True):
                hover(bar, f"{model.title}: {step} {duration(seconds)}")
            ends = [end + seconds for end, seconds in zip(ends, spent, strict=True)]
        _write_values(times, ends, duration)
        # Steps run one after the other: what a model needs is the largest of their peaks, not the sum.
        peaks = [float(max(model.peak_memory_bytes.values(), default=0)) for model in models]
        style = {"height": 0.62, "color": colour("vanilla"), "alpha": 0.75, "lw": 0}
        bars = without_background(sizes).barh(range(len(models)), peaks, **style)
        for bar, model in zip(bars.patches, models, strict=True):
            peak = [f"{step} {memory(size)}" for step, size in model.peak_memory_bytes.items()]
            hover(bar, f"{model.title}: {', '.join(peak)}")
        _write_values(sizes, peaks, memory)
        times.set_yticks(range(len(models)), [_clipped(model.title, 24) for model in models], size=10.5)
        times.set_ylim(len(models) - 0.4, -0.6)
        for axes, title in ((times, "Time"), (sizes, "Peak memory")):
            axes.set_title(title, weight="bold", pad=10)
            axes.grid(visible=False)
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
        figure.legend(loc="upper right", bbox_to_anchor=(1, 1), ncols=len(steps), handlelength=0.9, columnspacing=1.2)
    return figure


def step_names(models: Sequence[Model]) -> list[str]:
    """Return the steps that took time, in the order of a run."""
    steps = dict.fromkeys(step for model in models for step in model.seconds)
    return sorted(steps, key=lambda step: _STEP_ORDER.index(step) if step in _STEP_ORDER else len(_STEP_ORDER))


def _write_values(axes: Axes, values: Sequence[float], text_of: Callable[[float], str]) -> None:
    """Write each bar's value at its end."""
    axes.set_xlim(0, 1.02 * max(values) or 1)  # 1: the axis may not end where it begins
    for row, value in enumerate(values):
        if value:
            axes.annotate(
                text_of(value),
                (value, row),
                (4, 0),
                textcoords="offset points",
                va="center",
                size=10,
                color=colour("muted"),
            )
