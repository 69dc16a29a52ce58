from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.miniature import recipe
from support.progress import Listener

from mmunlearner.core.progress import Progress
from mmunlearner.errors import ConfigError, DataError, DiskError, TrainingError
from mmunlearner.run.plan import Step
from mmunlearner.run.run_dir import RunDir
from mmunlearner.run.workers import _Worker, execute, width


def row(name: str, *needs: str, done: bool = False) -> Step:
    return Step(name, lambda: done, lambda progress: progress.update(name, 1, 1), lambda: 1, needs=needs)


def table(*rows: Step) -> dict[str, Step]:
    return {step.name: step for step in rows}


def test_the_user_s_interrupt_reaches_the_run_and_not_its_workers(tmp_path: Path) -> None:
    worker = _Worker.start(tmp_path, threads=1)
    try:
        assert os.getsid(worker.process.pid) == worker.process.pid != os.getsid(0)
    finally:
        worker.stop()
    assert worker.process.returncode is not None


def test_steps_that_are_done_are_skipped(tmp_path: Path) -> None:
    titles: list[str] = []
    steps = table(row("a", done=True), row("b", "a"), row("c", "b"))
    execute(RunDir(tmp_path, recipe(tmp_path)), steps, 4, Listener(lambda title, *_: titles.append(title)))
    assert titles == ["b: b", "c: c"]


def test_width_is_the_number_of_steps_that_can_run_at_the_same_time() -> None:
    assert width(table(row("a"), row("b", "a"), row("c", "a"), row("d", "b", "c"), row("e", "elsewhere"))) == 2
    assert width({}) == 0


def test_a_worker_that_ends_names_its_step(tmp_path: Path) -> None:
    """There is no run in this directory, so that the worker ends at once."""
    with pytest.raises(TrainingError, match=r"[ab]: its process ended \(code 1\)"):
        execute(RunDir(tmp_path, recipe(tmp_path)), table(row("a"), row("b")), 2, Progress())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [DataError, DiskError, ConfigError])
def test_an_error_of_a_step_is_raised_as_it_is_while_its_process_lives(kind: type[Exception]) -> None:
    """These are ValueErrors or OSErrors, as those are that a broken pipe gives."""
    message = json.dumps({"error": kind.__name__, "text": "the reason"})
    code = f"import sys; sys.stdin.readline(); print({message!r}, flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    worker = _Worker(subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True))
    try:
        with pytest.raises(kind, match="the reason"):
            worker.do("a", Progress())
        assert worker.process.poll() is None
    finally:
        worker.stop()
