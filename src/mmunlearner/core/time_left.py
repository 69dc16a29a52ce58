"""Estimate of the time left: the forecast of each step, corrected by what finished work has taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

PRIOR = 1.5
"""Seconds that a step takes for each second of its forecast, before any was measured: 1.3 to 1.8 in the demo."""
TRUST = 0.02
"""Share of the work that, once measured, counts as much as what was expected before."""
OVERDUE = 0.1
"""Share of a step's time left that remains when nothing was reported for longer than it should have taken."""


@dataclass(frozen=True)
class Stage:
    """Steps that come after those of earlier stages, up to `width` of them at the same time."""

    costs: Mapping[str, float]
    """Name of a step -> seconds that it takes by the forecast. Steps of one kind begin with the same word."""
    width: int = 1


@dataclass
class _Work:
    """One step: its forecast, and what was reported of it. Times are in seconds of some clock."""

    kind: str
    cost: float
    started: float | None = None
    first: tuple[float, float] | None = None
    """Time and share of the first report."""
    resumed: float = 0.0
    """Share that an earlier call had done."""
    time: float | None = None
    """Time of the last report, or of the start."""
    share: float = 0.0
    ended: bool = False

    def report(self, share: float, now: float) -> None:
        if self.first is None:
            self.first = now, share
        elif self.share == self.first[1] < share:
            # A resumed step begins where it was left: its first report holds more than the second one adds.
            self.resumed = max(0.0, self.share - (share - self.share))
        self.share, self.time = share, now

    def measured(self) -> tuple[float, float]:
        """Return seconds, and the forecast's seconds for the same work."""
        if self.time is None or self.started is None:
            return 0.0, 0.0
        if self.ended:
            return self.time - self.started, self.cost * (1 - self.resumed)
        if self.first is None:
            return 0.0, 0.0
        # Without what precedes the first report: loading a model takes as long for a short step as for a long one.
        return self.time - self.first[0], self.cost * (self.share - self.first[1])


class TimeLeft:
    """Estimator of the time left; every call names the time of its clock."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = stages
        self._works = {
            name: _Work(name.partition(" ")[0], cost) for stage in stages for name, cost in stage.costs.items()
        }
        self._skipped: set[str] = set()

    def start(self, name: str, now: float) -> None:
        """Note that a step begins."""
        if name in self._works:
            self._works[name].started = self._works[name].time = now

    def report(self, name: str, share: float, now: float) -> None:
        """Note which share of a step is done."""
        if name in self._works:
            self._works[name].report(share, now)

    def end(self, name: str, now: float) -> float:
        """Note that a step is complete; return the seconds that it took."""
        if name not in self._works:
            return 0.0
        work = self._works[name]
        work.share, work.time, work.ended = 1.0, now, True
        return now - (now if work.started is None else work.started)

    def skip(self, name: str) -> None:
        """Note that an earlier call completed a step: its time says nothing about this call."""
        self._skipped.add(name)

    def seconds(self, now: float) -> float:
        """Return the seconds left; 0 only where all steps have ended."""
        total = 0.0
        for stage in self.stages:
            left = [self._seconds_of(self._works[name], now) for name in stage.costs if name not in self._skipped]
            # The steps of a stage fill its width, but no step is shorter than itself.
            total += max([sum(left) / stage.width, *left], default=0.0)
        # What is reported in full has not ended: its results are still to be written.
        is_open = any(not work.ended for name, work in self._works.items() if name not in self._skipped)
        return max(total, 1.0) if is_open else 0.0

    def share(self, now: float) -> float:
        """Return the share of the time of all steps that has passed."""
        # With the pace of now for all: a step that was done by an earlier call counts with the time that it would take.
        total = sum(work.cost * self._pace(work) for work in self._works.values())
        left = sum(self._seconds_of(work, now) for name, work in self._works.items() if name not in self._skipped)
        return 1 - left / total if total else 1.0

    def _seconds_of(self, work: _Work, now: float) -> float:
        if work.ended:
            return 0.0
        left = work.cost * (1 - work.share) * self._pace(work)
        since = 0.0 if work.time is None else now - work.time
        return max(left - since, OVERDUE * left)

    def _pace(self, work: _Work) -> float:
        """Return the seconds for each second of the forecast: of all steps, then of its kind, then of its own."""
        alike = [other for other in self._works.values() if other.kind == work.kind]
        pace = _corrected(PRIOR, self._works.values())
        return _corrected(_corrected(pace, alike), () if work.ended else (work,))


def _corrected(expected: float, works: Iterable[_Work]) -> float:
    """Return an expected pace, corrected by what was measured of these steps."""
    works = list(works)
    trust = TRUST * sum(work.cost for work in works)
    pairs = [work.measured() for work in works]
    seconds, cost = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return (expected * trust + seconds) / (trust + cost) if trust + cost > 0 else expected


def in_words(seconds: float) -> str:
    """Write a time, never as nothing: a few seconds, 45 s, 3 min 20 s, 12 min, 1 h 12 min, 2 d 3 h."""
    if seconds < 5:
        return "a few seconds"
    if round(seconds) < 60:
        return f"{round(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 10:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours == 0:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
