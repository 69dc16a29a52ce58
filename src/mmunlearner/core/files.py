"""Files that are either whole or absent: written under another name, then renamed."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmunlearner.errors import DataError, DiskError, reason

if TYPE_CHECKING:
    from torch import Tensor

LFS_POINTER = b"version https://git-lfs"
"""Beginning of the pointer that git-lfs leaves in the place of a large file."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def disk_is_full(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, is a full disk."""
    if error is None:
        return False
    full = isinstance(error, OSError) and error.errno in FULL_DISK
    # safetensors, tokenizers and torch wrap the system's error, or only repeat its text.
    full = full or any(os.strerror(code) in str(error) for code in FULL_DISK)
    return full or disk_is_full(error.__cause__ or error.__context__)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Name the file or folder that the block writes where the disk is full.

    Raises:
        DiskError: it is full.
    """
    try:
        yield
    except Exception as error:
        if disk_is_full(error) and not isinstance(error, DiskError):
            raise DiskError(
                f"{path}: the disk is full ({reason(error)}); free some space, the same command resumes"
            ) from error
        raise


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Write a file so that neither a reader nor a kill ever sees half of it; return its path."""
    with staged_file(path) as stage:
        stage.write_bytes(content)
    return Path(path)


@contextmanager
def staged_file(path: Path | str) -> Iterator[Path]:
    """Yield a file to write: it becomes `path` if the block succeeds and is removed if it fails.

    Raises:
        DiskError: the disk is full.
    """
    path = Path(path)
    # In the same folder, so that the rename is atomic; with the process's number, so that two writers do not mix.
    stage = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield stage
            with stage.open("rb+") as file:
                os.fsync(file.fileno())  # else a power cut could leave the new name without the content
            stage.replace(path)
        finally:
            stage.unlink(missing_ok=True)


def write_tensors(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write tensors as safetensors, as `write_bytes` does, without a copy of them in memory."""
    from safetensors.torch import save_file

    with staged_file(path) as stage:
        save_file(dict(tensors), stage, metadata=dict(metadata))
    return Path(path)


def write_text(path: Path | str, text: str) -> Path:
    """Write a text in UTF-8, as `write_bytes` does."""
    return write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> Path:
    """Write a value as JSON, as `write_bytes` does.

    Raises:
        ValueError: it holds a NaN or an infinity, which are not JSON.
    """
    return write_bytes(path, _json_bytes(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"))


def _json_bytes(text: str) -> bytes:
    """Return JSON text in UTF-8; half of a surrogate pair, which UTF-8 has no bytes for, becomes JSON's `\\ud83d`."""
    return text.encode(errors="backslashreplace")


def read_text(path: Path | str) -> str:
    """Read a file in UTF-8, or in UTF-16 if it begins with that mark; line ends stay as they are.

    Raises:
        DataError: it is missing, cannot be read or is in another encoding.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    # Editors and spreadsheets put a byte order mark before the text, which is no part of it.
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        # Never read as Windows-1252 by a guess: every wrong guess would change names and answers without a word.
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8 text (byte {error.start}, {error.reason}); save the file as UTF-8"
        ) from None


def read_json(path: Path | str) -> Any:
    """Parse a JSON file.

    Raises:
        DataError: it cannot be read or is not JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """Parse JSON; `where` names its place in errors.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error if chr(10) in text else error.msg})") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets in thousands of brackets
        raise DataError(f"{where}: not JSON that can be read ({reason(error)})") from None


def iterate_jsonl(path: Path | str) -> Iterator[tuple[int, Any]]:
    """Yield (line number, value) of a file with one JSON value per line; empty lines are passed over.

    Raises:
        DataError: it cannot be read, or a line is not JSON (its number is named).
    """
    # Lines end at a line feed alone: JSON texts may hold the other separators of `str.splitlines`.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if text := line.removeprefix("\ufeff").strip():  # the mark of a file that was joined to another one
            yield number, parse_json(text, f"{path}, line {number}")


def read_jsonl(path: Path | str) -> list[Any]:
    """Return the values of `iterate_jsonl`.

    Raises:
        DataError: the file cannot be read, or a line is not JSON (its number is named).
    """
    return [value for _, value in iterate_jsonl(path)]


def write_jsonl(path: Path | str, values: list[Any]) -> Path:
    """Write one JSON value per line, as `write_bytes` does."""
    return write_bytes(path, b"".join(_json_line(value) for value in values))


def _json_line(value: Any) -> bytes:
    return _json_bytes(json.dumps(value, ensure_ascii=False) + "\n")


def append_jsonl(path: Path | str, value: Any) -> None:
    """Append one line to a log."""
    # Not staged, as the other files are: that would copy the whole log at every step.
    with writing(path), Path(path).open("ab") as file:
        file.write(_json_line(value))


def repair_jsonl(path: Path | str) -> list[Any]:
    """Drop a last line that a kill cut short while it was appended; return the values of the whole lines.

    Raises:
        DataError: the file cannot be read, or a whole line is not JSON.
    """
    path = Path(path)
    content = path.read_bytes()
    # A whole line ends with a line feed: nothing is left behind the last one. Bytes, as the cut may be within a letter.
    if not content.endswith(b"\n"):
        write_bytes(path, content[: content.rfind(b"\n") + 1])
    return read_jsonl(path)


@contextmanager
def staged_dir(path: Path | str) -> Iterator[Path]:
    """Yield a folder to fill: it becomes `path` if the block succeeds and is removed if it fails.

    Raises:
        DiskError: the disk is full.
    """
    path = Path(path)
    stage = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(stage, ignore_errors=True)  # of a killed process that had the same number
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stage.mkdir()
        try:
            yield stage
            discard(path)  # a folder that is not empty cannot be renamed over
            stage.rename(path)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def discard(path: Path | str) -> None:
    """Remove a folder so that no kill leaves half of it under its name."""
    path = Path(path)
    if path.exists():
        renamed = path.with_name(f".{path.name}.discarded.{os.getpid()}.part")
        path.rename(renamed)
        shutil.rmtree(renamed)


def remove_unfinished(folder: Path | str) -> None:
    """Remove the unfinished files of killed processes below a folder; no other process may be writing to it."""
    for path in sorted(Path(folder).rglob(".*.part")):
        # The number is a process's. Unfinished sums of squares end in .part without a number: a run resumes from them.
        if re.fullmatch(r"\..+\.\d+\.part", path.name):
            # `missing_ok`: it may have been within a folder that was just removed.
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
