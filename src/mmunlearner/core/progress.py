"""What a long step shows: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 15.0
"""Between two lines where there is no terminal."""


@dataclass
class Board:
    """Counts the whole run's work; `notify` may be called from any thread."""

    total: int
    console: Console = field(default_factory=lambda: Console(stderr=True))
    _done: dict[tuple[str, str], int] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _started: float = field(default_factory=time.monotonic, init=False)
    _spoke: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description:42}"), BarColumn(), MofNCompleteColumn(), TextColumn("elapsed"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self.console, transient=True,
            disable=not self.console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("starting", total=self.total)

    def __enter__(self) -> Board:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def notify(self, name: str, what: str, done: int, of: int) -> None:
        """`name` is `done` of `of` through `what`."""
        with self._lock:
            self._done[name, what] = done
            finished = min(sum(self._done.values()), self.total)
            self._bar.update(self._task, completed=finished, description=f"{name}: {what}")
            if not self.console.is_terminal and (time.monotonic() - self._spoke > LINE_SECONDS):
                self._spoke = time.monotonic()
                print(f"{name}: {what} {done}/{of} ({self._rest(finished)})", file=sys.stderr, flush=True)

    def skip(self, units: int) -> None:
        """What an earlier call has done already."""
        self._done["earlier", ""] = units

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False)

    def _rest(self, finished: int) -> str:
        elapsed = time.monotonic() - self._started
        new = finished - self._done.get(("earlier", ""), 0)
        left = elapsed / new * (self.total - finished) if new > 0 else 0.0
        return f"{100 * finished // max(self.total, 1)} %, about {left:.0f} s left"
