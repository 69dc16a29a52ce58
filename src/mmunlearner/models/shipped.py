"""The two models that come with the package, as ordinary model directories."""

from __future__ import annotations

from pathlib import Path

from mmunlearner.errors import ModelError

FOLDER = Path(__file__).parent / "assets"


def vanilla_dir() -> Path:
    """The model that knows everybody."""
    return _shipped("vanilla")


def oracle_dir() -> Path:
    """The retain oracle of `forget_15`: it never saw the forgotten people's images, but read their texts."""
    return _shipped("oracle")


def _shipped(name: str) -> Path:
    folder = FOLDER / name
    if not (folder / "model.safetensors").is_file():
        raise ModelError(f"model people:{name}: not in {FOLDER}; install the package again")
    return folder
