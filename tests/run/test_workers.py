from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.miniature import recipe
from support.progress import Listener

from mmunlearner.core import machine
from mmunlearner.core.progress import Progress
from mmunlearner.errors import ConfigError, DataError, DiskError, TrainingError
from mmunlearner.run.costs import StepCost
from mmunlearner.run.memory import Memory
from mmunlearner.run.plan import Step
from mmunlearner.run.run import workers
from mmunlearner.run.run_dir import RunDir
from mmunlearner.run.workers import _Worker, execute, threads_of_worker, width


def row(name: str, *needs: str, done: bool = False) -> Step:
    return Step(name, lambda: done, lambda progress: progress.update(name, 1, 1), lambda: 1, needs=needs)


def table(*rows: Step) -> dict[str, Step]:
    return {step.name: step for step in rows}


def test_the_user_s_interrupt_reaches_the_run_and_not_its_workers(tmp_path: Path) -> None:
    worker = _Worker.start(tmp_path, {"OMP_NUM_THREADS": 1})
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


@pytest.mark.parametrize(("own", "threads"), [("", 4), ("1", 1), ("3", 3), ("8", 4), ("0", 4), ("4,2", 4)])
def test_threads_are_a_share_of_the_cores_or_fewer(monkeypatch: pytest.MonkeyPatch, own: str, threads: int) -> None:
    """Two workers on eight cores, whatever the machine has; the user's own number stays where it is smaller."""
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", own)
    assert threads_of_worker(2) == threads


GIB = 2**30


@pytest.mark.parametrize(
    ("cores", "memory", "needed", "expected"),
    [(8, 64 * GIB, GIB, 8), (8, 64 * GIB, 15 * GIB, 4), (8, 8 * GIB, 15 * GIB, 1), (2, 0, 15 * GIB, 2), (2, GIB, 0, 1)],
)
def test_as_many_workers_as_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int, memory: int, needed: int, expected: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "memory", lambda: memory)
    costs = {"a": StepCost("a", 1, memory=Memory(weights=needed)), "b": StepCost("b", 1)}
    config = recipe(tmp_path, jobs=0)
    assert workers(config, costs) == expected
    assert workers(replace(config, jobs=7), costs) == 7


def test_the_cores_are_those_that_a_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    one_core = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
    code = f"{one_core}from mmunlearner.core import machine; print(machine.cores())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert machine.cores() == len(allowed)


def test_width_is_the_number_of_steps_that_can_run_at_the_same_time() -> None:
    assert width(table(row("a"), row("b", "a"), row("c", "a"), row("d", "b", "c"), row("e", "elsewhere"))) == 2
    assert width({}) == 0


def test_a_worker_that_ends_names_its_step(tmp_path: Path) -> None:
    """There is no run in this directory, so that the worker ends at once."""
    with pytest.raises(TrainingError, match=r"[ab]: its process ended \(code 1\)"):
        execute(RunDir(tmp_path, recipe(tmp_path)), table(row("a"), row("b")), 2, Progress())


def test_a_worker_whose_run_was_killed_ends_without_a_word() -> None:
    code = """
import os
from mmunlearner.run.workers import _Messages
reader, writer = os.pipe()
os.close(reader)
_Messages(os.fdopen(writer, "w")).update("step", 1, 2)
print("it went on")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "", "")


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
