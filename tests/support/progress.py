"""Progress that tests listen to, or that stops a run."""

from __future__ import annotations

from collections.abc import Callable

from mmunlearner.core.progress import Progress


class Listener(Progress):
    """Calls a function with every report, and notes the share of the work that it names."""

    def __init__(self, call: Callable[[str, int, int], object]) -> None:
        self.call = call
        self.shares: list[float] = []

    def update(self, title: str, done: int, total: int, share: float | None = None) -> None:
        self.shares.append(done / total if share is None else share)
        self.call(title, done, total)


def interrupt_at(number: int) -> Progress:
    """Return a progress that interrupts the work when so many units are done."""

    def interrupt(title: str, done: int, total: int) -> None:
        if done == number:
            raise KeyboardInterrupt

    return Listener(interrupt)
