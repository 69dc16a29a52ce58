"""The most important figure: forgetting against keeping, one mark per model."""

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
from mmunlearner.report.criteria import bound, to_forget, to_keep
from mmunlearner.report.figure import canvas, colour, house_style, hover, without_background
from mmunlearner.report.labels import Box, place_labels
from mmunlearner.report.results import Column, Model, Results
from mmunlearner.report.template import with_error

MARKERS = {"vanilla": "D", "oracle": "*", "baseline": "o", "method": "s", "control": "^"}


class Point(NamedTuple):
    """A model in the trade-off: means over the columns to forget and over those to keep."""

    model: Model
    forget: Score
    keep: Score

    @property
    def xy(self) -> tuple[float, float]:
        """Position on the axes, in per cent."""
        return 100 * self.forget.value, 100 * self.keep.value

    @property
    def errors(self) -> tuple[float, float]:
        """Lengths of the error bars to one side, in per cent."""
        return 100 * self.forget.stderr, 100 * self.keep.stderr


def trade_off_points(results: Results) -> list[Point]:
    """Return the models that have a score in columns of both kinds."""
    points = []
    for model in results.models:
        forget, keep = mean(model, to_forget(results)), mean(model, to_keep(results))
        if forget and keep:
            points.append(Point(model, forget, keep))
    return points


def mean(model: Model, columns: Sequence[Column]) -> Score | None:
    """Return the mean score; its error is the mean of the errors."""
    # The columns share entities, so their errors may be correlated. With full correlation the error of the mean is the
    # mean of the errors; it cannot be larger.
    scores = [score for column in columns if (score := model.score(column.name))]
    if not scores:
        return None
    value, stderr = (sum(part) / len(scores) for part in zip(*((s.value, s.stderr) for s in scores), strict=True))
    return Score(value, stderr, sum(score.n for score in scores))


def trade_off(results: Results, *, width: float = 760, height: float = 470) -> Figure:
    """Draw forgetting (more to the left) against keeping (more to the top); the star is the oracle."""
    points, wide = trade_off_points(results), width > 500
    with house_style():
        figure = canvas(width, height, left=56, right=16, bottom=76, top=14)
        axes = without_background(figure.add_subplot())
        oracle, vanilla = (next((p for p in points if p.model.role == role), None) for role in ("oracle", "vanilla"))
        if oracle and vanilla:
            # A result should end within the bounds of the oracle and above that of vanilla.
            far, lost = mean_bounds(results)
            corner = 100 * (oracle.forget.value - far), 100 * (vanilla.keep.value - lost)
            zone = Rectangle(corner, 200 * far, 200, color=colour("target"), alpha=0.12, lw=0, zorder=0)
            axes.add_patch(zone)
        for point in points:
            _draw_point(axes, point)
        if points:
            # Room for the names around the outermost points, also where all points nearly coincide.
            xs, ys = zip(*(point.xy for point in points), strict=True)
            across, up = max(10.0, max(xs) - min(xs)), max(6.0, max(ys) - min(ys))
            axes.set_xlim(min(xs) - 0.1 * across, max(xs) + 0.08 * across)
            axes.set_ylim(min(ys) - 0.14 * up, max(ys) + 0.14 * up)
            axes.yaxis.set_major_locator(MaxNLocator(6))
        columns = to_forget(results)
        accuracy = f"accuracy, {columns[0].title}" if len(columns) == 1 else "mean accuracy" if columns else "accuracy"
        axes.set_xlabel("Still known of what was to be forgotten, %" + (f" ({accuracy})" if wide else ""))
        axes.set_ylabel("Kept of everything else, %")
        _write_names(axes, points, 11 if wide else 10)
        _legend(figure, points, 4 if wide else 2, mean_bounds(results))
    return figure


def _draw_point(axes: Axes, point: Point) -> None:
    role, (x, y), (width, height) = point.model.role, point.xy, point.errors
    axes.errorbar(x, y, yerr=height, xerr=width, fmt="none", color=colour(role), elinewidth=1.1, alpha=0.55, zorder=2)
    size = {"oracle": 20, "vanilla": 8}.get(role, 9.5 if point.model.chosen else 8)
    style = {"color": colour(role), "mec": colour("paper"), "mew": 1.2, "zorder": 4 if role == "oracle" else 3}
    (mark,) = axes.plot(x, y, MARKERS[role], ms=size, **style)
    hover(mark, f"{point.model.title}: forget {with_error(point.forget)} %, kept {with_error(point.keep)} %")


def _write_names(axes: Axes, points: Sequence[Point], size: float) -> None:
    """Write each model's name beside its mark, with a thin line to it if the name is further away."""
    # In pixels, since overlap is a matter of the drawing and not of the scores.
    to_pixels, window = axes.transData, axes.get_window_extent()
    marks = [Box.around(to_pixels.transform(point.xy), 14, 14) for point in points]
    error_bars = []  # as thin boxes in pixels
    for point in points:
        (x, y), (dx, dy) = point.xy, point.errors
        centre = to_pixels.transform((x, y))
        (end_x, _), (_, end_y) = to_pixels.transform([(x + dx, y), (x, y + dy)])
        error_bars += [
            Box.around(centre, 2 * (end_x - centre[0]), 2),
            Box.around(centre, 2, 2 * (end_y - centre[1])),
        ]
    # matplotlib measures a text only when it is drawn: 0.56 of the size is the mean width of a letter.
    sizes = [(0.56 * size * len(point.model.title) + 4, 1.25 * size) for point in points]
    labels = place_labels(marks, sizes, Box(window.x0, window.y0, window.x1, window.y1), error_bars)
    for point, mark, label in zip(points, marks, labels, strict=True):
        ink, weight = colour(point.model.role), "bold" if point.model.chosen else "normal"
        x, y = to_pixels.inverted().transform(label.centre)
        axes.text(x, y, point.model.title, ha="center", va="center", size=size, color=ink, weight=weight, zorder=5)
        edge = label.nearest(mark.centre)
        if dist(edge, mark.centre) > 15:
            ends = to_pixels.inverted().transform([mark.centre, edge])
            axes.plot(ends[:, 0], ends[:, 1], color=ink, lw=0.7, alpha=0.6, zorder=1)


def mean_bounds(results: Results) -> tuple[float, float]:
    """Return the mean bounds of the columns to forget and of those to keep (fractions)."""
    forget, keep = ([bound(c) for c in columns] for columns in (to_forget(results), to_keep(results)))
    return sum(forget) / max(len(forget), 1), sum(keep) / max(len(keep), 1)


def _legend(figure: Figure, points: Sequence[Point], columns: int, bounds: tuple[float, float]) -> None:
    """Explain the kinds of models among the points, and the tinted zone."""
    # Vanilla and the oracle are one mark each, with their name beside it: they need no entry.
    roles = {point.model.role for point in points}
    handles: list[Artist] = [
        Line2D([], [], ls="none", marker=MARKERS[role], ms=7, color=colour(role), label=role)
        for role in ("baseline", "method", "control")
        if role in roles
    ]
    if {"oracle", "vanilla"} <= roles:
        label = f"within {100 * bounds[0]:.3g} points of the oracle, {100 * bounds[1]:.3g} of vanilla"
        handles.append(Rectangle((0, 0), 1, 1, color=colour("target"), alpha=0.2, lw=0, label=label))
    if handles:
        figure.legend(handles=handles, loc="lower left", ncols=columns, handletextpad=0.4, columnspacing=1.4)
