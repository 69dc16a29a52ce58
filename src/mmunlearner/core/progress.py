"""Progress of long work: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich import progress as rich_progress
from rich.console import Console

T = TypeVar("T")
LINE_SECONDS = 15.0  # between two lines where there is no terminal, so that logs stay short


class Progress:
    """Progress of a piece of work. This one shows nothing: the default of every function that reports."""

    def update(self, title: str, done: int, total: int) -> None:
        """Report that `done` of `total` units of the work called `title` are done."""

    def note(self, text: str) -> None:
        """Report a line that stays on the screen."""

    def track(self, items: Sequence[T], title: str, start: int = 0) -> Iterator[T]:
        """Yield the items from number `start` on, and report each once the caller is done with it."""
        for number, item in enumerate(items[start:], start + 1):
            yield item
            self.update(title, number, len(items))

    def child(self, name: str) -> Progress:
        """Return the progress of one part of the work, whose titles begin with its name."""
        return _Child(self, name)

    def part(self, start: int, end: int, total: int) -> Progress:
        """Return the progress of a part of the work: units `start` to `end` of this one's `total`."""
        return _Part(self, start, end, total)


@dataclass(frozen=True)
class _Child(Progress):
    parent: Progress
    name: str

    def update(self, title: str, done: int, total: int) -> None:
        self.parent.update(f"{self.name}: {title}", done, total)

    def note(self, text: str) -> None:
        self.parent.note(text)


@dataclass(frozen=True)
class _Part(Progress):
    parent: Progress
    start: int
    end: int
    total: int

    def update(self, title: str, done: int, total: int) -> None:
        self.parent.update(title, self.start + (self.end - self.start) * done // max(total, 1), self.total)

    def note(self, text: str) -> None:
        self.parent.note(text)


class ProgressBar(Progress):
    """Progress over children of known size; any thread may report to it."""

    def __init__(self, work: Mapping[str, float], console: Console | None = None) -> None:
        """`work`: name of a child -> its size, in any unit that is proportional to time."""
        self.work = work
        self.console = console or Console(stderr=True)
        self._done: dict[str, float] = {}
        self._skipped = 0.0
        self._lock = threading.Lock()  # workers report from threads of their own
        self._started = time.monotonic()
        self._last_line = 0.0
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description:42}"), rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(), rich_progress.TextColumn("elapsed"),
            rich_progress.TimeElapsedColumn(), rich_progress.TextColumn("left"), rich_progress.TimeRemainingColumn(),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=max(self._total, 1))

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def child(self, name: str) -> Progress:
        return _Entry(self, name)

    def update(self, title: str, done: int, total: int) -> None:
        self.show(title, title, done, total)

    def show(self, name: str, title: str, done: int, total: int) -> None:
        """Count `done` of `total` towards the child called `name`, and show it under `title`."""
        with self._lock:
            # Each child counts in its own units (steps, batches); its share of the bar is its size in `work`.
            self._done[name] = self.work.get(name, 0.0) * done / max(total, 1)
            completed = min(sum(self._done.values()), self._total)
            self._bar.update(self._task, completed=completed, description=f"{title} {done}/{total}")
            if not self.console.is_terminal and time.monotonic() - self._last_line > LINE_SECONDS:
                self._last_line = time.monotonic()
                elapsed = self._last_line - self._started
                new = completed - self._skipped  # skipped work took no time: it would make the rest look short
                seconds = elapsed / new * (self._total - completed) if new > 0 else 0.0
                estimate = f"{100 * completed / max(self._total, 1):.0f} %, about {seconds:.0f} s left"
                print(f"{title} {done}/{total} ({estimate})", file=sys.stderr, flush=True)

    def skip(self, name: str) -> None:
        """Count a child as done by an earlier call; estimates of the time left do not include it."""
        self._done[name] = self.work.get(name, 0.0)
        self._skipped += self._done[name]

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False)

    @property
    def _total(self) -> float:
        return sum(self.work.values())


@dataclass(frozen=True)
class _Entry(Progress):
    """One child of a bar."""

    bar: ProgressBar
    name: str

    def update(self, title: str, done: int, total: int) -> None:
        self.bar.show(self.name, f"{self.name}: {title}", done, total)

    def note(self, text: str) -> None:
        self.bar.note(text)
