"""Where to write the names of points so that they cover neither each other nor the points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import cos, dist, pi, sin
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, centre: Iterable[float], width: float, height: float) -> Box:
        x, y = centre
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def overlap(self, other: Box) -> float:
        """Area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, width) * max(0.0, height)

    def nearest(self, point: tuple[float, float]) -> tuple[float, float]:
        """The place in the box that is nearest to a point."""
        return max(self.left, min(point[0], self.right)), max(self.bottom, min(point[1], self.top))

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2


def place(
    marks: Sequence[Box], sizes: Sequence[tuple[float, float]], bounds: Box, obstacles: Sequence[Box] = ()
) -> list[Box]:
    """A box for each mark's label, greedily where it costs least: what it covers first, then its distance.

    Args:
        marks: the points as drawn.
        sizes: width and height of each label.
        bounds: the axes; a label should not leave them.
        obstacles: what else a label should rather not cover.
    """
    placed: dict[int, Box] = {}
    # Crowded marks choose first: those that stand alone find room anyway.
    for i in sorted(range(len(marks)), key=lambda i: _loneliness(marks, i)):
        taken = [*marks, *placed.values(), *obstacles]
        placed[i] = min(_candidates(marks[i], sizes[i]), key=lambda box: _cost(box, marks[i], taken, bounds))
    return [placed[i] for i in range(len(marks))]


def _loneliness(marks: Sequence[Box], i: int) -> float:
    return sum(min(200.0, dist(mark.centre, marks[i].centre)) for mark in marks)


def _candidates(mark: Box, size: tuple[float, float]) -> Iterator[Box]:
    """Boxes around the mark, sixteen directions at growing distance."""
    (x, y), (width, height), radius = mark.centre, size, (mark.right - mark.left) / 2
    for step in range(6):
        reach = radius + 4 + 11 * step
        for direction in range(16):
            dx, dy = cos(direction * pi / 8), sin(direction * pi / 8)
            yield Box.around((x + dx * (reach + width / 2), y + dy * (reach + height / 2)), width, height)


def _cost(box: Box, mark: Box, taken: Sequence[Box], bounds: Box) -> float:
    outside = box.area - box.overlap(bounds)
    covered = sum(box.overlap(other) for other in taken)
    return 20 * outside + 10 * covered + dist(box.nearest(mark.centre), mark.centre)
