"""Placement of the labels of points without overlap with each other or with the points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import cos, dist, pi, sin
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    @classmethod
    def around(cls, centre: Iterable[float], width: float, height: float) -> Box:
        """Return the box of this size around a point."""
        x, y = centre
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def overlap(self, box: Box) -> float:
        """Return the area that both boxes cover."""
        width = min(self.x1, box.x1) - max(self.x0, box.x0)
        height = min(self.y1, box.y1) - max(self.y0, box.y0)
        return max(0.0, width) * max(0.0, height)

    def nearest(self, point: tuple[float, float]) -> tuple[float, float]:
        """Return the point of the box that is nearest to a point."""
        return max(self.x0, min(point[0], self.x1)), max(self.y0, min(point[1], self.y1))

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


def place_labels(
    marks: Sequence[Box], sizes: Sequence[tuple[float, float]], bounds: Box, obstacles: Sequence[Box] = ()
) -> list[Box]:
    """Return a box for each mark's label: each in turn takes the position of least cost.

    Args:
        marks: the points as drawn.
        sizes: width and height of each label.
        bounds: the axes; a label should not leave them.
        obstacles: other boxes that a label should not cover if possible.
    """

    def cost(box: Box, mark: Box) -> float:
        # Areas weigh more than distance: better a label far from its mark than one that hides something.
        outside = box.area - box.overlap(bounds)
        covered = sum(box.overlap(taken) for taken in (*marks, *placed.values(), *obstacles))
        return 20 * outside + 10 * covered + dist(box.nearest(mark.centre), mark.centre)

    def room(i: int) -> float:
        # Marks further than 200 pixels away do not crowd, however far they are.
        return sum(min(200.0, dist(mark.centre, marks[i].centre)) for mark in marks)

    placed: dict[int, Box] = {}
    # Crowded marks choose first: those that stand alone find room anyway. No random numbers, so that the same results
    # give the same figure.
    for i in sorted(range(len(marks)), key=room):
        mark = marks[i]
        placed[i] = min(_positions(mark, sizes[i]), key=lambda box, mark=mark: cost(box, mark))
    return [placed[i] for i in range(len(marks))]


def _positions(mark: Box, size: tuple[float, float]) -> list[Box]:
    """Return boxes around the mark, in sixteen directions at growing distance."""
    (x, y), (width, height), radius = mark.centre, size, (mark.x1 - mark.x0) / 2
    boxes = []
    # From the edge of the mark, four pixels away, outwards.
    for step in range(6):
        reach = radius + 4 + 11 * step
        for direction in range(16):
            dx, dy = cos(direction * pi / 8), sin(direction * pi / 8)
            # Its centre is further away by half the label's size, so that its edge keeps the distance.
            boxes.append(Box.around((x + dx * (reach + width / 2), y + dy * (reach + height / 2)), width, height))
    return boxes
