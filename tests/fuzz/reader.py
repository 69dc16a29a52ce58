"""A reader of user's files, and a trial of it: of a mutated file come success or one line, else it is a defect."""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from fuzz.forms import mutate
from mmunlearner.cli.mistakes import explain
from mmunlearner.errors import on_one_line

SECONDS = 60
"""Time after which a call counts as hanging: many times what the slowest takes on a busy machine."""


@dataclass(frozen=True)
class Reader:
    """One kind of file, and the function of the package that reads it."""

    name: str
    make: Callable[[Path], list[Path]]
    """Writes whole files to an empty folder; returns those to mutate."""
    call: Callable[[Path, Path], object]
    """Reads the folder, or the changed file in it, and uses what was read, as far as this takes milliseconds."""
    share: float = 1
    """Part of the usual number of inputs: small for a call that takes seconds."""


class Outcome(NamedTuple):
    """What came of one mutated file."""

    kind: Literal["success", "refusal", "defect"]
    text: str
    """The line of a refusal, the traceback of a defect."""
    place: str = ""
    """Of a defect: kind of error, and the package's innermost line."""


class Hanging(BaseException):
    """A call that does not end; no Exception, which the package would take for a broken file."""


class Corpus:
    """A folder with whole files of a reader, one of which is mutated at a time."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.folder = reader, folder
        folder.mkdir(parents=True)
        self.files = reader.make(folder)
        self._contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def attempt_whole(self) -> Outcome:
        """Call the reader with nothing changed."""
        return attempt(self.reader, self.folder, self.files[0])

    def attempt(self, rng: Random) -> Outcome:
        """Mutate a file, call the reader, and put all files back."""
        target = rng.choice(self.files)
        _spoil(rng, target, self._contents[target])
        try:
            return attempt(self.reader, self.folder, target)
        finally:
            _remove(target)
            for path in [path for path in self.folder.rglob("*") if path.is_file()]:
                if path not in self._contents:  # which the call has written
                    path.unlink()
            for path, content in self._contents.items():
                if not path.exists() or path.read_bytes() != content:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)


def _spoil(rng: Random, path: Path, content: bytes) -> None:
    """Put something else in the place of a file: mostly changed bytes."""
    _remove(path)
    whole = rng.randrange(60)
    if whole == 0:
        path.mkdir()
    elif whole == 1:
        path.symlink_to(path)
    elif whole > 2:  # else it is missing
        try:
            path.write_bytes(mutate(rng, content, path.suffix))
        except Exception:  # of the writers of this form: no such file can hold the changed value
            path.write_bytes(mutate(rng, content, ""))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def attempt(reader: Reader, folder: Path, changed: Path) -> Outcome:
    """Call a reader and judge what comes of it."""
    try:
        with _quiet(), _time_limit(SECONDS):
            reader.call(folder, changed)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        line = explain(error) if isinstance(error, Exception) else None
        if line:
            return Outcome("refusal", on_one_line(line))
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f"mmunlearner{os.sep}" in f.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].name}" if frames else "?"
        return Outcome("defect", traceback.format_exc()[-6000:], f"{type(error).__name__} in {place}")
    return Outcome("success", "")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep output, warnings and logs back."""
    # Libraries warn of odd values and go on: what counts here is how the call ends.
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hanging(f"still at work after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
