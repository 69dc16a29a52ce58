"""Steps that run at the same time, each in its own process: small models run faster so than with many threads each.

A worker is this module run with a run directory. It reads names of steps from its standard input, looks them up in the
run's plan, and answers with lines of JSON, so that nothing is pickled. It ends at once when its standard input closes,
so that it never outlives the run that started it. (A process pool of the standard library would import the user's main
script again in each worker, which fails in a script that is not guarded and in a notebook's cells.)
"""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mmunlearner import errors
from mmunlearner.core import machine
from mmunlearner.core.progress import Progress
from mmunlearner.run.plan import Step, plan
from mmunlearner.run.run_dir import RunDir, find_run

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which libraries learn their number of threads."""


def execute(run: RunDir, steps: Mapping[str, Step], workers: int, progress: Progress) -> None:
    """Do the steps that are not done, each after those that it needs, up to `workers` at a time.

    Raises:
        MMUnlearnerError: the error of the first step that failed; the others are stopped.
    """
    waiting = {name: step for name, step in steps.items() if not step.done()}
    # Of all steps, done or not: the last bits of sums depend on the number of threads, which a resumed run must repeat.
    workers = min(workers, width(steps))
    if workers <= 1 or not waiting:  # in this process: no second one has to import torch
        for name, step in waiting.items():
            of_step = progress.child(name)
            step.do(of_step)
            of_step.end()
        return
    threads = {name: threads_of_worker(workers, name) for name in THREADS}
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()

    def do(name: str) -> None:
        worker = idle.get()
        of_step = progress.child(name)
        worker.do(name, of_step)
        of_step.end()
        idle.put(worker)  # not after an error, when `stack` is about to stop all workers

    with ThreadPoolExecutor(workers) as pool, ExitStack() as stack:
        for _ in range(min(workers, len(waiting))):
            idle.put(worker := _Worker.start(run.path, threads))
            stack.callback(worker.stop)  # before the pool waits for its threads, which wait for the workers
        running: dict[Future[None], str] = {}
        while waiting or running:
            unfinished = {*waiting, *running.values()}
            for name in [name for name, step in waiting.items() if unfinished.isdisjoint(step.needs)]:
                if len(running) < workers:
                    del waiting[name]
                    running[pool.submit(do, name)] = name
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()  # raises the step's error
                del running[future]


def width(steps: Mapping[str, Step]) -> int:
    """Return the largest number of steps that can run at the same time."""
    # Steps at the same depth never need each other.
    depth: dict[str, int] = {}
    for name, step in steps.items():
        depth[name] = 1 + max((depth[need] for need in step.needs if need in steps), default=0)
    return max(Counter(depth.values()).values(), default=0)


def threads_of_worker(workers: int, variable: str = "OMP_NUM_THREADS") -> int:
    """Return the threads of each of so many workers on a CPU: its share of the cores.

    A smaller number that the user has set in `variable` stays as it is.
    """
    share, own = max(1, machine.cores() // workers), os.environ.get(variable, "")
    return min(share, int(own)) if own.isdigit() and int(own) else share


@dataclass(frozen=True)
class _Worker:
    """The run's side of a worker."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, run: Path, threads: Mapping[str, int]) -> _Worker:
        environment = {**os.environ, **{name: str(number) for name, number in threads.items()}}
        command = [sys.executable, "-m", "mmunlearner.run.workers", str(run)]
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C reaches the run alone, which then stops its workers.
        return cls(
            subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment, start_new_session=True)
        )

    def do(self, name: str, progress: Progress) -> None:
        """Let the worker do a step, and report its progress.

        Raises:
            MMUnlearnerError: the step's own error, or the worker ended.
        """
        try:
            _send(self.process.stdin, {"step": name})
            while "progress" in (message := _receive(self.process.stdout)):
                progress.update(*message["progress"])
        except (EOFError, OSError, ValueError):
            raise errors.TrainingError(f"{name}: its process ended (code {self.process.wait()})") from None
        # Outside of the block above: the step's own error may be a ValueError or an OSError too, and its process lives.
        if "error" in message:  # raised here as the same class, by name
            raise getattr(errors, message["error"], errors.TrainingError)(message["text"])

    def stop(self) -> None:
        self.process.kill()  # nothing to tidy up: results are written under another name, then renamed
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def _send(stream: IO[str] | None, message: dict[str, Any]) -> None:
    if stream is not None:
        stream.write(json.dumps(message) + "\n")
        stream.flush()


def _receive(stream: IO[str] | None) -> dict[str, Any]:
    line = stream.readline() if stream is not None else ""
    if not line:  # the other process ended
        raise EOFError
    return json.loads(line)


@dataclass(frozen=True)
class _Messages(Progress):
    """The worker's side: the real standard output, which nothing else may write to."""

    out: IO[str]

    def update(self, title: str, done: int, total: int, share: float | None = None) -> None:
        self.send({"progress": [title, done, total, share]})

    def send(self, message: dict[str, Any]) -> None:
        try:
            _send(self.out, message)
        except BrokenPipeError:  # the run was killed in the middle of a step: there is nobody to tell
            os._exit(1)


def _work(directory: str) -> None:
    """Do steps until the standard input closes."""
    messages = _Messages(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # a library that prints would break the protocol: its text goes to the standard error
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    # In its own thread, which notices at once that the run is gone, even during a long step.
    threading.Thread(target=_listen, args=(names,), daemon=True).start()
    logging.getLogger("mmunlearner.data").setLevel(logging.ERROR)  # the run has read the same data and reported on it
    steps = plan(find_run(directory))
    while True:
        name = names.get()
        try:
            steps[name].do(messages)
            messages.send({"done": name})
        except errors.MMUnlearnerError as error:
            messages.send({"error": type(error).__name__, "text": str(error)})
        except OSError as error:  # a full disk, above all; any other exception is a defect and ends the worker
            messages.send({"error": "TrainingError", "text": f"{name}: {error}"})


def _listen(names: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        names.put(json.loads(line)["step"])
    os._exit(1)  # `sys.exit` would end this thread alone


if __name__ == "__main__":
    _work(sys.argv[1])
