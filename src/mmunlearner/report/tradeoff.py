"""The figure that matters most: how much was forgotten against how much was kept."""

from __future__ import annotations

from collections.abc import Sequence
from math import dist
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mmunlearner.evaluate.scores import Score
from mmunlearner.report.criteria import FORGET_BOUND, KEEP_BOUND, to_forget, to_keep
from mmunlearner.report.figure import bare, canvas, colour, house_style
from mmunlearner.report.labels import Box, place
from mmunlearner.report.results import Column, Model, Results
from mmunlearner.report.template import with_error

MARKERS = {"vanilla": "D", "oracle": "*", "baseline": "o", "method": "s", "control": "^"}


class Point(NamedTuple):
    """A model in the trade-off: means over the columns to forget and over those to keep."""

    model: Model
    forget: Score
    keep: Score


def trade_off_points(results: Results) -> list[Point]:
    """Models that have a score in columns of both kinds."""
    made = []
    for model in results.models:
        forget, keep = mean(model, to_forget(results)), mean(model, to_keep(results))
        if forget and keep:
            made.append(Point(model, forget, keep))
    return made


def mean(model: Model, columns: Sequence[Column]) -> Score | None:
    """Mean score; its error is the mean of the errors, the largest it can be whatever the columns share."""
    scores = [score for column in columns if (score := model.score(column.name))]
    if not scores:
        return None
    value, stderr = (sum(part) / len(scores) for part in zip(*((s.value, s.stderr) for s in scores), strict=True))
    return Score(value, stderr, sum(score.n for score in scores))


def trade_off(results: Results, *, width: float = 760, height: float = 470) -> Figure:
    """Forgetting (left is more) against what was kept (up is more); the star is the oracle, the aim."""
    points = trade_off_points(results)
    with house_style():
        figure = canvas(width, height, left=56, right=16, bottom=76, top=14)
        axes = bare(figure.add_subplot())
        _target_zone(axes, points)
        for point in points:
            _draw_point(axes, point)
        _limits(axes, points)
        detail = f" ({_short(to_forget(results))})" if width > 500 else ""
        axes.set_xlabel(f"Still known of what was to be forgotten, %{detail}")
        axes.set_ylabel("Kept of everything else, %")
        _name_points(axes, points, 11 if width > 500 else 10)
        _legend(figure, points, 4 if width > 500 else 2)
    return figure


def _short(columns: Sequence[Column]) -> str:
    return "mean accuracy" if len(columns) > 1 else f"accuracy, {columns[0].title}" if columns else "accuracy"


def _target_zone(axes: Axes, points: Sequence[Point]) -> None:
    """Within the bounds of the oracle and of vanilla."""
    oracle, vanilla = (next((p for p in points if p.model.role == role), None) for role in ("oracle", "vanilla"))
    if oracle is None or vanilla is None:
        return
    left, floor = 100 * (oracle.forget.value - FORGET_BOUND), 100 * (vanilla.keep.value - KEEP_BOUND)
    zone = Rectangle((left, floor), 200 * FORGET_BOUND, 200, color=colour("target"), alpha=0.12, lw=0, zorder=0)
    axes.add_patch(zone)


def _draw_point(axes: Axes, point: Point) -> None:
    role, (x, y) = point.model.role, _place_of(point)
    width, height = 100 * point.forget.stderr, 100 * point.keep.stderr
    axes.errorbar(x, y, yerr=height, xerr=width, fmt="none", color=colour(role), elinewidth=1.1, alpha=0.55, zorder=2)
    size = {"oracle": 20, "vanilla": 8}.get(role, 9.5 if point.model.chosen else 8)
    look = {"color": colour(role), "mec": colour("paper"), "mew": 1.2, "zorder": 4 if role == "oracle" else 3}
    (drawn,) = axes.plot(x, y, MARKERS[role], ms=size, **look)
    drawn.set_gid(gid(point.model))


def _place_of(point: Point) -> tuple[float, float]:
    """In per cent, as the axes have it."""
    return 100 * point.forget.value, 100 * point.keep.value


def tooltips(results: Results) -> dict[str, str]:
    """What is shown when a mark is pointed at."""
    return {
        gid(point.model): f"{point.model.title}: forget {with_error(point.forget)} %, kept {with_error(point.keep)} %"
        for point in trade_off_points(results)
    }


def gid(model: Model) -> str:
    """Name of a model's mark within an SVG."""
    return "point-" + "".join(char if char.isalnum() else f"-{ord(char):x}-" for char in model.name)


def _limits(axes: Axes, points: Sequence[Point]) -> None:
    """Room for the names around the outermost points."""
    if not points:
        return
    xs, ys = zip(*map(_place_of, points), strict=True)
    across, up = max(10.0, max(xs) - min(xs)), max(6.0, max(ys) - min(ys))
    axes.set_xlim(min(xs) - 0.1 * across, max(xs) + 0.08 * across)
    axes.set_ylim(min(ys) - 0.14 * up, max(ys) + 0.14 * up)
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _name_points(axes: Axes, points: Sequence[Point], size: float) -> None:
    """Write each model's name beside its mark, with a thin line where it had to move away."""
    to_pixels, box = axes.transData, axes.get_window_extent()
    marks = [Box.around(to_pixels.transform(_place_of(point)), 14, 14) for point in points]
    bars = [bar for point in points for bar in _bars(axes, point)]
    sizes = [(0.56 * size * len(point.model.title) + 4, 1.25 * size) for point in points]
    boxes = place(marks, sizes, Box(box.x0, box.y0, box.x1, box.y1), bars)
    for point, mark, label in zip(points, marks, boxes, strict=True):
        ink, weight = colour(point.model.role), "bold" if point.model.chosen else "normal"
        x, y = to_pixels.inverted().transform(label.centre)
        axes.text(x, y, point.model.title, ha="center", va="center", size=size, color=ink, weight=weight, zorder=5)
        edge = label.nearest(mark.centre)
        if dist(edge, mark.centre) > 15:
            ends = to_pixels.inverted().transform([mark.centre, edge])
            axes.plot(ends[:, 0], ends[:, 1], color=ink, lw=0.7, alpha=0.6, zorder=1)


def _bars(axes: Axes, point: Point) -> list[Box]:
    """The error bars in pixels, as thin boxes."""
    x, y = _place_of(point)
    ends = [(x + 100 * point.forget.stderr, y), (x, y + 100 * point.keep.stderr)]
    centre = axes.transData.transform((x, y))
    (right, _), (_, top) = axes.transData.transform(ends)
    return [Box.around(centre, 2 * (right - centre[0]), 2), Box.around(centre, 2, 2 * (top - centre[1]))]


def _legend(figure: Figure, points: Sequence[Point], columns: int) -> None:
    """The kinds of models among the points, and the field in which they should end."""
    shown = {point.model.role for point in points}
    handles: list[Artist] = [
        Line2D([], [], ls="none", marker=MARKERS[role], ms=7, color=colour(role), label=role)
        for role in ("baseline", "method", "control")
        if role in shown
    ]
    if {"oracle", "vanilla"} <= shown:
        label = f"within {100 * FORGET_BOUND:.0f} points of the oracle, {100 * KEEP_BOUND:.0f} of vanilla"
        handles.append(Rectangle((0, 0), 1, 1, color=colour("target"), alpha=0.2, lw=0, label=label))
    if handles:
        figure.legend(handles=handles, loc="lower left", ncols=columns, handletextpad=0.4, columnspacing=1.4)
