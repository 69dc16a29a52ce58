"""Progress of long work: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mmunlearner.core.time_left import Stage, TimeLeft, in_words

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
LINE_SECONDS = 15.0  # between two lines where there is no terminal; longer in a long run, so that logs stay short
LINES = 60  # a line comes no sooner than after this part of the time so far
PATIENCE = 4.0  # seconds after which work without a bar is named


class Progress:
    """Progress of a piece of work. This one shows nothing: the default of every function that reports."""

    def update(self, title: str, done: int, total: int, share: float | None = None) -> None:
        """Report that `done` of `total` units of what is called `title` are done, and so this `share` of the work.

        `share` is given where the units are not those of the whole work; otherwise it follows from them.
        """

    def note(self, text: str) -> None:
        """Report a line that stays on the screen."""

    def end(self) -> None:
        """Report that the work is complete."""

    def track(self, items: Sequence[T], title: str, start: int = 0) -> Iterator[T]:
        """Yield the items from number `start` on, and report each once the caller is done with it."""
        for number, item in enumerate(items[start:], start + 1):
            yield item
            self.update(title, number, len(items))

    def child(self, name: str) -> Progress:
        """Return the progress of one part of the work, whose titles begin with its name."""
        return _Child(self, name)

    def part(self, start: float, end: float, total: float = 1.0) -> Progress:
        """Return the progress of a part of the work: from `start` to `end` of its `total`."""
        return _Part(self, start / total, end / total) if total else self


@dataclass(frozen=True)
class _Child(Progress):
    parent: Progress
    name: str

    def update(self, title: str, done: int, total: int, share: float | None = None) -> None:
        self.parent.update(f"{self.name}: {title}", done, total, share)

    def note(self, text: str) -> None:
        self.parent.note(text)


@dataclass(frozen=True)
class _Part(Progress):
    parent: Progress
    start: float
    stop: float

    def update(self, title: str, done: int, total: int, share: float | None = None) -> None:
        share = done / max(total, 1) if share is None else share
        self.parent.update(title, done, total, self.start + (self.stop - self.start) * share)

    def note(self, text: str) -> None:
        self.parent.note(text)


class ProgressBar(Progress):
    """Progress over steps whose time is forecast; any thread may report to it."""

    def __init__(
        self,
        stages: Sequence[Stage],
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Here, since every command imports this module, and `--help` is to be fast.
        from rich import progress as rich_progress

        self.console = console or _standard_error()
        self.clock = clock
        self._left = TimeLeft(stages)
        self._text = "starting"
        self._share = 0.0
        self._lock = threading.Lock()  # workers report from threads of their own
        self._started = self._last_line = clock()
        self._ticker = _Ticker(self._tick)
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description:42}"), rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(), rich_progress.TextColumn("elapsed"),
            rich_progress.TimeElapsedColumn(), rich_progress.TextColumn("{task.fields[left]}"),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=1.0, left="")

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        seconds = self._left.seconds(self.clock())
        if seconds > PATIENCE:
            self.note(f"time: about {in_words(seconds)}")
        self._ticker.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ticker.stop()
        self._bar.stop()
        if kind is None and (passed := self.clock() - self._started) > PATIENCE:
            self.note(f"done in {in_words(passed)}")

    def child(self, name: str) -> Progress:
        with self._lock:
            self._left.start(name, self.clock())
            self._text = name
        return _Entry(self, name)

    def update(self, title: str, done: int, total: int, share: float | None = None) -> None:
        self.report(title, title, done, total, share)

    def report(self, name: str, title: str, done: int, total: int, share: float | None) -> None:
        """Count `done` of `total`, or this `share`, towards the step called `name`, and show it under `title`."""
        with self._lock:
            self._left.report(name, min(1.0, done / max(total, 1) if share is None else share), self.clock())
            self._text = f"{title} {done}/{total}"
        self._tick()

    def end_of(self, name: str) -> None:
        """Count a step as complete, and say so."""
        with self._lock:
            seconds = self._left.end(name, self.clock())
            self._text = f"{name}: done in {in_words(seconds)}"
        self._tick(at_once=True)

    def skip(self, name: str) -> None:
        """Count a step as done by an earlier call; its time says nothing about that of others."""
        self._left.skip(name)

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False)

    def _tick(self, *, at_once: bool = False) -> None:
        """Show the latest report and the time left; on a terminal in the bar, elsewhere as a line if it is time."""
        with self._lock:
            now = self.clock()
            seconds = self._left.seconds(now)
            # A corrected estimate may be longer: the bar then waits instead of going back.
            self._share = max(self._share, min(self._left.share(now), 0.99 if seconds else 1.0))
            left = f"about {in_words(seconds)} left" if seconds else ""
            self._bar.update(self._task, completed=self._share, description=self._text, left=left)
            due = now - self._last_line >= max(LINE_SECONDS, (now - self._started) / LINES)
            if not self.console.is_terminal and (due or at_once):
                self._last_line = now
                estimate = f"{100 * self._share:.0f} %" + (f", {left}" if left else "")
                print(f"{self._text} ({estimate})", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Entry(Progress):
    """One step of a bar."""

    bar: ProgressBar
    name: str

    def update(self, title: str, done: int, total: int, share: float | None = None) -> None:
        self.bar.report(self.name, f"{self.name}: {title}", done, total, share)

    def note(self, text: str) -> None:
        self.bar.note(text)

    def end(self) -> None:
        self.bar.end_of(self.name)


@contextmanager
def waiting(text: str, console: Console | None = None) -> Iterator[None]:
    """Name work of unknown length while it lasts, such as reading a data set, if it takes more than a few seconds."""
    console, started = console or _standard_error(), time.monotonic()
    if console.is_terminal:
        with console.status(f"{text} ..."):
            yield
        return
    lines = [PATIENCE]

    def line() -> None:
        passed = time.monotonic() - started
        if passed >= lines[-1]:
            lines.append(passed + max(LINE_SECONDS, passed / LINES))
            console.print(f"{text} ({in_words(passed)} so far)", highlight=False, soft_wrap=True)

    ticker = _Ticker(line)
    ticker.start()
    try:
        yield
    finally:
        ticker.stop()


def _standard_error() -> Console:
    from rich.console import Console

    return Console(stderr=True)


class _Ticker:
    """A thread that calls a function every second until it is stopped."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(1.0):
            self._call()
