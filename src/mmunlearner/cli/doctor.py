"""Checks of this machine: versions, devices, memory, and the abilities that follow from them."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from mmunlearner.core import machine
from mmunlearner.core.hub import hub_problem
from mmunlearner.errors import ModelError

GIB = 2**30
# Bytes that a run of the demo takes at most, generously rounded up.
NEEDED_DISK = 1 * GIB
NEEDED_MEMORY = 3 * GIB
ANSWER_TOKENS = 32  # of a sequence, for estimates of memory


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table."""

    name: str
    value: str
    verdict: Literal["ok", "note", "wrong"]
    """`note`: something is missing here, the rest works; `wrong`: the package does not work."""
    remedy: str = ""


def examine(folder: Path | str = ".") -> tuple[Check, ...]:
    """Return all checks; runs are to be written somewhere below `folder`."""
    checks = (*_packages(), _disk(Path(folder)))
    broken = _import_trouble()
    # What follows needs torch, and the shipped models are found by the room that loads them.
    return (*checks, broken) if broken else (*checks, *_assets(), *_machine(), *_abilities())


def examine_model(source: str, tokens: int = 1024, images: int = 4) -> tuple[Check, ...]:
    """Check which masks and trainings of a model fit here, for batches of `images` sequences of `tokens` tokens each.

    Raises:
        ModelError: no configuration of the model is found.
    """
    from mmunlearner.models.skeleton import meta_model
    from mmunlearner.run import memory

    model = meta_model(source)
    sizes = memory.sizes(model)
    available, on_cpu = _memory_here()
    checks = [
        Check("weights", f"{sizes.total:,}, {4 * sizes.total / GIB:.1f} GiB", "ok"),
        # A run's own batches, which may be far smaller, are those of its dry run.
        Check("for a batch of", f"{images} sequences of {tokens:,} tokens (--images, --tokens)", "ok"),
    ]
    batch = memory.ForwardSize(images * tokens, images * memory.patches(model, tokens), images * ANSWER_TOKENS)
    for name, estimate in memory.scenarios(sizes, batch).items():
        # The vanilla weights, kept to count what moved, are always in the host's memory.
        needed = estimate.total if on_cpu else estimate.on_device
        fits = needed <= available
        remedy = "" if fits else "fewer parts, smaller train.batch_size, model.lora.rank 16, or more memory"
        checks.append(Check(name, f"{needed / GIB:.1f} of {available / GIB:.1f} GiB", "ok" if fits else "note", remedy))
    return tuple(checks)


def _memory_here() -> tuple[int, bool]:
    """Return the bytes of the first GPU and False, or without one those of the machine and True."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory, False
    return machine.memory(), True


def healthy(checks: tuple[Check, ...]) -> bool:
    """Return whether nothing that is needed is broken."""
    return all(check.verdict != "wrong" for check in checks)


def _packages() -> Iterator[Check]:
    yield Check("python", platform.python_version(), "ok")
    for text in metadata.requires("mmunlearner") or ():
        requirement = Requirement(text)
        # Extras are checked under the abilities that they add.
        if not (requirement.marker and "extra" in str(requirement.marker)):
            yield _package(requirement)
    if util.find_spec("torchvision"):
        # Not needed; but one built for another torch cannot be imported, and makes transformers fail.
        version = metadata.version("torchvision")
        try:
            import_module("torchvision")
            yield Check("torchvision", version, "ok")
        except (ImportError, RuntimeError) as error:
            problem = f"{version}, broken ({_first_line(error)})"
            yield Check("torchvision", problem, "wrong", "pip uninstall torchvision")


def _package(requirement: Requirement) -> Check:
    remedy = f'pip install "{requirement.name}{requirement.specifier}"'
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(requirement.name, "missing", "wrong", remedy)
    fits = requirement.specifier.contains(version, prereleases=True)
    return Check(requirement.name, version, "ok" if fits else "wrong", "" if fits else remedy)


def _import_trouble() -> Check | None:
    """Import torch and transformers: installed builds may still not fit each other, or the machine."""
    for package in ("torch", "transformers"):
        try:
            import_module(package)
        except (ImportError, OSError, RuntimeError) as error:
            return Check(package, f"cannot be imported ({_first_line(error)})", "wrong", f"install {package} again")
    return None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    full = free < NEEDED_DISK
    return Check("disk", f"{free / GIB:.1f} GiB free", "wrong" if full else "ok", "free a gigabyte" if full else "")


def _machine() -> Iterator[Check]:
    import torch

    cores = machine.cores()
    threads = torch.get_num_threads()
    remedy = f"OMP_NUM_THREADS={cores}" if threads > cores else ""
    yield Check("cores", f"{cores}, threads of torch: {threads}", "note" if remedy else "ok", remedy)
    if total := machine.memory():
        yield Check("memory", f"{total / GIB:.1f} GiB", "ok" if total >= NEEDED_MEMORY else "note")
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        yield Check(
            "accelerator", "none", "note", "CPU only: fine for the demo, slow for models of billions of weights"
        )
    for index in range(torch.accelerator.device_count()):
        module = torch.get_device_module(accelerator)
        name = module.get_device_name(index) if hasattr(module, "get_device_name") else str(accelerator)
        yield Check(f"{accelerator}:{index}", name, "ok")
    problem = hub_problem()
    remedy = "models and data must be directories, or on this machine already" if problem else ""
    yield Check("hub", f"not asked ({problem})" if problem else "answers", "note" if problem else "ok", remedy)


def _assets() -> Iterator[Check]:
    """Check that the models that come with the package are there and can be read."""
    from safetensors import SafetensorError, safe_open

    from mmunlearner.models.sources import SHIPPED, resolve_source

    for name in SHIPPED:
        try:
            file = Path(resolve_source(name)) / "model.safetensors"
            # Reading the header finds a file that was cut off: safetensors compares its length.
            with safe_open(file, framework="numpy") as weights:
                count = len(list(weights.keys()))
            yield Check(name, f"{count} tensors, {file.stat().st_size / 2**20:.1f} MiB", "ok")
        except ModelError:
            yield Check(name, "missing", "wrong", "install the package again")
        except (OSError, SafetensorError) as error:
            yield Check(name, f"broken ({error})", "wrong", "install the package again")


def _abilities() -> Iterator[Check]:
    import torch

    yield Check("full fine-tuning", "float32 weights", "ok")
    yield (
        Check("LoRA", "peft", "ok") if util.find_spec("peft") else Check("LoRA", "no peft", "note", "pip install peft")
    )
    yield Check("bfloat16", "on the accelerator", "ok") if torch.accelerator.is_available() else _short_numbers()
    if util.find_spec("bitsandbytes"):
        yield Check("quantised weights", f"bitsandbytes {metadata.version('bitsandbytes')}", "ok")
    else:
        yield Check("quantised weights", "no bitsandbytes", "note", 'pip install "mmunlearner[quantize]"')
    if util.find_spec("nicegui"):
        yield Check("page of compare", f"nicegui {metadata.version('nicegui')}", "ok")
    else:
        yield Check("page of compare", "no nicegui", "note", 'pip install "mmunlearner[compare]"')


def _short_numbers() -> Check:
    """Compare the speed of bfloat16 with that of float32 on this CPU: some have instructions for it, others none."""
    from mmunlearner.run.forecast import measured_speed

    # Small: where it is emulated, a large product would take seconds.
    short, full = (measured_speed("cpu", dtype, side=256).operations for dtype in ("bfloat16", "float32"))
    ratio = short / full
    if ratio >= 1:
        return Check("bfloat16", f"on the CPU, {ratio:.1f} times as fast as float32", "ok")
    return Check("bfloat16", f"on the CPU, {1 / ratio:.1f} times as slow as float32", "note", "model.dtype float32")
