"""Sources of models: a directory, a hub id, or one of the two models that come with the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.utils import HFValidationError, validate_repo_id
from transformers.utils.hub import cached_file, has_file

from mmunlearner.core.hub import hub_problem
from mmunlearner.errors import ModelError
from mmunlearner.models.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, INDEX, read_named_values, reading

WHOLE_WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin", "pytorch_model.bin.index.json")
PROCESSOR_FILES = (("processor_config.json", "preprocessor_config.json"), ("tokenizer_config.json",))
"""Files of a processor; it is whole with one of each group."""
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
    if "\0" in name:  # the system's own functions would raise an error of another kind
        raise ModelError(f"model {name!r}: no path or hub id has a NUL in it")
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


@dataclass(frozen=True)
class Sources:
    """Directories or hub ids that the pieces of a model are read from."""

    weights: str
    """Whole weights and their configuration."""
    processor: str
    adapter: str = ""
    """Adapter that is merged into the weights; empty where there is none."""


def find_sources(source: str | Path) -> Sources:
    """Return where the pieces of a model are: all in one place, or an adapter of peft and the base that it names.

    Raises:
        ModelError: there is no such model; the adapter lies beside whole weights, which may hold it already; or it
            names no base that is there.
    """
    name = _locate(resolve_source(source))
    with reading(name):  # of a hub id, the hub may be asked
        if not has_file(name, ADAPTER_CONFIG):
            return Sources(name, name)
        return _of_adapter(name)


def _locate(name: str) -> str:
    """Return a directory or hub id as it is; where the hub cannot be asked, the directory of its copy on this machine.

    Raises:
        ModelError: the hub cannot be asked, and there is no copy.
    """
    if Path(name).is_dir() or not (problem := hub_problem()):
        return name
    copies = (try_to_load_from_cache(name, file) for file in ("config.json", ADAPTER_CONFIG))
    for copy in copies:
        if isinstance(copy, str):
            return str(Path(copy).parent)
    raise ModelError(
        f"model {name}: no such directory, no copy of it from the hub, and the hub cannot be asked ({problem}); name a "
        f"directory, or run `hf download {name}` where there is a network"
    )


def _of_adapter(name: str) -> Sources:
    """Return the sources of an adapter and its base; raises as `find_sources` does."""
    whole = [file for file in WHOLE_WEIGHTS if has_file(name, file)]
    if whole:
        raise ModelError(
            f"model {name}: has an adapter ({ADAPTER_CONFIG}) beside whole weights ({whole[0]}), and nothing says "
            "whether these hold it already; remove the adapter, or move it to a folder of its own"
        )
    if not has_file(name, ADAPTER_WEIGHTS):
        raise ModelError(f"model {name}: its adapter has no {ADAPTER_WEIGHTS}; other files of weights are not read")
    path = Path(name) / ADAPTER_CONFIG if Path(name).is_dir() else Path(str(cached_file(name, ADAPTER_CONFIG)))
    base = read_named_values(path).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"model {name}: its {ADAPTER_CONFIG} names no base_model_name_or_path; write it there")
    try:
        weights = _locate(resolve_source(base))
    except ModelError as error:
        raise ModelError(f"model {name}: the base of its adapter: {error}") from None
    if has_file(weights, ADAPTER_CONFIG):
        raise ModelError(f"model {name}: the base of its adapter, {base}, has an adapter too; merge that one first")
    own = all(any(has_file(name, file) for file in files) for files in PROCESSOR_FILES)
    return Sources(weights, name if own else weights, name)


_HASHED = frozenset({".json", ".safetensors", ".jinja", ".txt", ".model", ".py"})
"""Endings of the files that a model is read from."""
_NO_PART = frozenset({"train.json"})  # the record of a training lies beside the model
_WHOLE, _STRIDE, _BLOCK = 2**26, 2**22, 2**12


def source_hashes(source: str | Path) -> dict[str, str]:
    """Return file -> SHA-256 of a model's folders, or for a hub id the `revision` that is in the cache; or nothing.

    Of a file above 64 MiB, its size and 4 KiB in every 4 MiB: training moves nearly all weights, and no matrix of a
    model with such files lies between two blocks. So a model of 15 GB takes seconds, and not minutes.
    """
    if not source or str(source) == "tiny":
        return {}
    sources, hashes = find_sources(source), dict[str, str]()
    places = dict.fromkeys(filter(None, (sources.weights, sources.processor, sources.adapter)))
    for place in places:
        # A copy of the hub's lies in models--OWNER--NAME/snapshots/REVISION.
        name = Path(place).parents[1].name.split("--")[-1] if _is_copy(Path(place)) else Path(place).name
        prefix = f"{name}/" if len(places) > 1 else ""
        hashes |= {f"{prefix}{name}": value for name, value in _place_hashes(place).items()}
    return hashes


def _is_copy(folder: Path) -> bool:
    return folder.is_dir() and folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--")


def _place_hashes(place: str) -> dict[str, str]:
    folder = Path(place)
    if _is_copy(folder):  # as where the hub answers: a run that begins with it may go on without
        return {"revision": folder.name}
    if not folder.is_dir():
        cached = [try_to_load_from_cache(place, name) for name in ("config.json", ADAPTER_CONFIG)]
        revisions = [Path(path).parent.name for path in cached if isinstance(path, str)]
        return {"revision": revisions[0]} if revisions else {}
    files = sorted(path for path in folder.iterdir() if path.suffix in _HASHED and path.name not in _NO_PART)
    return {path.name: _sampled_hash(path) for path in files if path.is_file()}


def _sampled_hash(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        for offset in (*range(0, size - _BLOCK, _STRIDE), size - _BLOCK):
            file.seek(offset)
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()
