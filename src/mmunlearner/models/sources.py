"""Sources of models: a directory, a hub id, or one of the two models that come with the package."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub.utils import HFValidationError, validate_repo_id

from mmunlearner.errors import ModelError

ASSETS = Path(__file__).parent / "assets"
"""Folder of the shipped models, each an ordinary model directory."""
SHIPPED = ("people:vanilla", "people:oracle")
"""Names of the shipped models. The vanilla model knows everyone in the embedded benchmark; the retain oracle of its
`forget_15` never saw the images of the people to forget, but read their texts."""


def resolve_source(source: str | Path) -> str:
    """Return what transformers loads `source` from: a directory that is there, or a hub id as it is.

    Raises:
        ModelError: no source is given, the package ships no model of that name or its file is missing, or there is no
            such directory.
    """
    name = str(source)
    if not name:
        raise ModelError("no model given: name a directory or a hub id (model.vanilla)")
    if name.startswith("people:"):
        if name not in SHIPPED:
            raise ModelError(f"model {name}: the package ships {', '.join(SHIPPED)}")
        directory = ASSETS / name.removeprefix("people:")
        if not (directory / "model.safetensors").is_file():
            raise ModelError(f"model {name}: not in {ASSETS}; install the package again")
        return str(directory)
    directory = Path(name).expanduser()
    if directory.is_dir():
        return str(directory)
    try:
        validate_repo_id(name)
    except HFValidationError:  # neither a directory nor a name that a hub could have
        raise ModelError(f"model {name}: no such directory") from None
    return name
