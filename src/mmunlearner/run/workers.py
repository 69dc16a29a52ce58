"""Models made side by side, each in a process of its own: one thread per core suits small models better than many.

A worker is this module run with a run's folder. It reads jobs as lines of JSON and answers with lines of JSON, so that
nothing is pickled; it ends at once when its standard input closes, so that it never outlives the run that started it.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from mmunlearner import errors
from mmunlearner.core.progress import Progress
from mmunlearner.run.run_dir import find_run
from mmunlearner.run.steps import Steps

Job = tuple[str, str]
"""(step, name): a method of `Steps` that takes a model's name, and that name."""


def run_jobs(run: Path, jobs: Sequence[Job], count: int, progress: Progress) -> None:
    """Do all jobs, `count` at a time.

    Raises:
        MMUnlearnerError: what the first job that failed raised; the others are stopped.
    """
    if count <= 1:
        steps = Steps(find_run(run), progress)
        for step, name in jobs:
            getattr(steps, step)(name)
        return
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with ExitStack() as stack:
        for _ in range(min(count, len(jobs))):
            process = _start(run, threads=max(1, (os.cpu_count() or 1) // count))
            stack.callback(_stop, process)
            threading.Thread(target=_serve, args=(process, waiting, messages), daemon=True).start()
        for _ in range(len(jobs)):
            _follow(messages, progress)


def _start(run: Path, threads: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "mmunlearner.run.workers", str(run)]
    # A session of its own: Ctrl-C reaches the run alone, which then stops its workers.
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _serve(process: subprocess.Popen[str], waiting: queue.SimpleQueue[Job], messages: queue.SimpleQueue[Any]) -> None:
    """One worker's thread: hand it jobs until none is left."""
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            _say(process.stdin, list(job))
            while not _ends(message := json.loads(next(_lines(process.stdout)))):
                messages.put(message)
        except (StopIteration, OSError, ValueError):
            message = {"failed": "TrainingError", "why": f"{job[1]}: its process ended (code {process.wait()})"}
        messages.put(message)


def _lines(stream: IO[str] | None) -> Any:
    return iter(stream.readline, "") if stream is not None else iter(())


def _say(stream: IO[str] | None, message: Any) -> None:
    if stream is not None:
        stream.write(json.dumps(message) + "\n")
        stream.flush()


def _ends(message: dict[str, Any]) -> bool:
    return "done" in message or "failed" in message


def _follow(messages: queue.SimpleQueue[Any], progress: Progress) -> None:
    """Pass on what is said until one job is done."""
    while True:
        message = messages.get()
        if "failed" in message:
            raise getattr(errors, message["failed"], errors.TrainingError)(message["why"])
        if "done" in message:
            return
        name, title, done, total = message["progress"]
        (progress.child(name) if name else progress).update(title, done, total)


@dataclass(frozen=True)
class _Channel(Progress):
    """The worker's side: the real standard output, which nothing else may write to."""

    out: IO[str]
    name: str = ""

    def update(self, title: str, done: int, total: int) -> None:
        _say(self.out, {"progress": [self.name, title, done, total]})

    def child(self, name: str) -> Progress:
        return super().child(name) if self.name else replace(self, name=name)


def _work(folder: str) -> None:
    """Take jobs until the standard input closes."""
    channel = _Channel(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # whatever libraries print goes to the standard error
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    logging.getLogger("mmunlearner.data").setLevel(logging.ERROR)  # the run has read the same data, and said so
    steps = Steps(find_run(folder), channel)
    while True:
        step, name = jobs.get()
        try:
            getattr(steps, step)(name)
            _say(channel.out, {"done": [step, name]})
        except errors.MMUnlearnerError as error:
            _say(channel.out, {"failed": type(error).__name__, "why": str(error)})
        except OSError as error:
            _say(channel.out, {"failed": "TrainingError", "why": f"{name}: {error}"})


def _listen(jobs: queue.SimpleQueue[Job]) -> None:
    for line in sys.stdin:
        step, name = json.loads(line)
        jobs.put((step, name))
    os._exit(1)  # the run that started this worker is gone, or has no more for it


if __name__ == "__main__":
    _work(sys.argv[1])
