"""Files of a model's directory: whole, readable, and all that the index names, before anything is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.utils import logging as transformers_logging

from mmunlearner.core.files import LFS_POINTER, read_json
from mmunlearner.core.hub import quiet_hub
from mmunlearner.errors import DataError, MMUnlearnerError, ModelError, reason

INDEX = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
JSON_FILES = (
    "config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json",
    "video_preprocessor_config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.json", "vocab.json", ADAPTER_CONFIG, INDEX,
)  # fmt: skip
"""Files that transformers reads; each holds named values."""


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn what transformers raises while it reads a model's files into one line, and keep its own reports back.

    Raises:
        ModelError: anything was raised; the files are the user's, and their readers raise errors of every kind.
    """
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with quiet_hub():
            yield
    except MMUnlearnerError:
        raise
    except Exception as error:
        # The text of others, such as a KeyError, says little without its name.
        telling = isinstance(error, OSError | ValueError | RuntimeError | ImportError)
        text = reason(error) if telling else f"{type(error).__name__}: {reason(error)}"
        raise ModelError(f"model {name}: cannot be loaded ({text})") from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def check_files(source: str) -> None:
    """Refuse a model's directory with a file that is cut off, damaged or only a pointer; a hub id is passed over.

    Raises:
        ModelError: such a file, or one that the index of the weights names and that is not there.
    """
    folder = Path(source)
    if not folder.is_dir():
        return
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        with path.open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise ModelError(
                    f"model {source}: {path.name} is a pointer of git-lfs, not the file; run `git lfs pull` there"
                )
    contents = {name: read_named_values(folder / name) for name in JSON_FILES if (folder / name).exists()}
    weights = {"model.safetensors", ADAPTER_WEIGHTS}
    if INDEX in contents:
        files = contents[INDEX].get("weight_map")
        if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
            raise ModelError(f"model {source}: {INDEX} has no weight_map from weights to files; copy it again")
        absent = sorted(name for name in set(files.values()) if not (folder / name).is_file())
        if absent:
            raise ModelError(
                f"model {source}: {INDEX} names {len(absent)} files that are not there ({absent[0]}); download them"
            )
        weights |= set(files.values())
    for name in sorted(weights):
        if (folder / name).exists():
            check_safetensors(folder / name)


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file that is cut off or damaged, as far as its header and its length tell.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise ModelError(
            f"model {path.parent}: {path.name} is cut off or damaged ({size} bytes; {reason(error)}); copy it again"
        ) from None


def read_named_values(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file of a model.

    Raises:
        ModelError: it cannot be read, or holds no named values.
    """
    try:
        content = read_json(path)
    except DataError as error:
        raise ModelError(f"model {path.parent}: {error}; copy the file again") from None
    if not isinstance(content, dict):
        raise ModelError(f"model {path.parent}: {path.name} should hold named values; copy the file again")
    return content
