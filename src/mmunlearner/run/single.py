"""One step on its own, by paths: a run of that step alone, beside its outcome, which is then moved into place.

So a single step is resumed by the same command, and does exactly what it does in a recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmunlearner import saliency
from mmunlearner.config import (
    DataConfig,
    EvaluateConfig,
    FinetuneConfig,
    LoadConfig,
    MaskConfig,
    MethodConfig,
    ModelConfig,
    RunConfig,
    TrainConfig,
)
from mmunlearner.core.files import discard, read_json, write_bytes, write_json, write_text
from mmunlearner.core.progress import ProgressBar
from mmunlearner.core.recipes import build, config_hash, plain
from mmunlearner.errors import ConfigError, MaskError, MMUnlearnerError
from mmunlearner.models.quantization import check_quantization, require_bitsandbytes
from mmunlearner.report.figure import standalone_svg
from mmunlearner.report.plots import saliency_layers
from mmunlearner.run.run_dir import mask_name, open_run
from mmunlearner.run.steps import Steps

_log = logging.getLogger(__name__)
NAME = "model"
"""What the single model is called in its run."""


def finetune(
    model: str,
    out: Path,
    *,
    data: DataConfig,
    train: TrainConfig,
    load: LoadConfig,
    oracle: bool = False,
    seed: int = 0,
) -> Path:
    """Train a model directory at `out` on the whole benchmark, or without the images of the targets (the oracle).

    Raises:
        MMUnlearnerError: the model, the data or an option is wrong, or `out` exists.
    """
    finetune = build(FinetuneConfig, plain(train))
    config = RunConfig(data=data, finetune=finetune, model=_model(load, base=model), seed=seed)
    role = "oracle" if oracle else "vanilla"

    def step(steps: Steps) -> Path:
        steps.finetune(role)
        return steps.run.model(role)

    return _do(config, out, step, role, lambda _: train.steps)


def mask(model: str, out: Path, *, data: DataConfig, wanted: MaskConfig, load: LoadConfig, seed: int = 0) -> Path:
    """Write the saliency mask of a model to the file `out`, and its statistics beside it (.json, .svg).

    Raises:
        MMUnlearnerError: the model, the data or an option is wrong, or `out` exists.
    """
    if load.quantize != "none":
        raise ConfigError(
            f"model.quantize {load.quantize}: such weights have no gradients to make a mask of; leave it out"
        )
    method = MethodConfig(mask=wanted)
    config = RunConfig(data=data, model=_model(load, vanilla=model), methods={NAME: method}, seed=seed)

    def step(steps: Steps) -> Path:
        made = steps.mask(NAME)
        if made is not None:
            _tell(saliency.statistics(made), out)
        return steps.run.mask(mask_name(wanted))

    return _do(config, out, step, "masks", _units)


def unlearn(
    model: str,
    out: Path,
    *,
    method: MethodConfig,
    data: DataConfig,
    train: TrainConfig,
    load: LoadConfig,
    mask: Path | None = None,
    seed: int = 0,
) -> Path:
    """Write the unlearned model to the directory `out`, with what it took in its train.json.

    `mask` is a file that `mask` wrote; without one, a method that has mask options computes its own. With
    `train.stop_every` training ends at the level of guessing, since there is no oracle.

    Raises:
        MMUnlearnerError: the model, the data, the mask or an option is wrong, or `out` exists.
    """
    method = replace(method, mask=_config_of(mask)) if mask else method
    config = RunConfig(data=data, train=train, model=_model(load, vanilla=model), methods={NAME: method}, seed=seed)

    def step(steps: Steps) -> Path:
        if mask and method.mask:
            _lay(mask, steps.run.mask(mask_name(method.mask)))
        steps.masks()
        steps.unlearn(NAME)
        return steps.run.model(NAME)

    return _do(config, out, step, NAME, lambda steps: steps.run.work_units(NAME))


def evaluate(
    model: str, out: Path, *, data: DataConfig, evaluate: EvaluateConfig, load: LoadConfig, seed: int = 0
) -> Path:
    """Ask a model everything; its answers and scores are written to the directory `out`.

    Raises:
        MMUnlearnerError: the model, the data or an option is wrong, or `out` exists.
    """
    config = RunConfig(data=data, evaluate=evaluate, model=_model(load, vanilla=model), seed=seed)
    trained = Path(model) / "train.json"
    if trained.is_file() and read_json(trained).get("look"):
        _log.warning("%s: training was to end by half of the forget entities, which these scores are of, too", model)

    def step(steps: Steps) -> Path:
        steps.evaluate("vanilla", quantize=load.quantize)
        return steps.run.evaluation("vanilla")

    return _do(config, out, step, "evaluate vanilla", lambda _: 1)


def _model(load: LoadConfig, **sources: str) -> ModelConfig:
    return build(ModelConfig, {**plain(load), **sources})


def _do(config: RunConfig, out: Path, step: Callable[[Steps], Path], name: str, work: Callable[[Steps], int]) -> Path:
    if out.exists():
        raise ConfigError(f"{out}: exists already; choose another --out, or remove it")
    check_quantization(config)
    require_bitsandbytes(config.model.quantize)
    folder = open_run(replace(config, out=str(out.parent), name=f".{out.name}.{config_hash(config)}"))
    try:
        with ProgressBar({name: work(Steps(folder))}) as progress:
            step(Steps(folder, progress)).rename(out)
    except MMUnlearnerError:
        if not (folder.path / "work").exists():  # no checkpoint to go on from
            discard(folder.path)
        raise
    discard(folder.path)
    return out


def _units(steps: Steps) -> int:
    """How many gradients the masks take."""
    return sum(len(each.groups(steps.splits)) for each in steps.passes.values())


def _tell(statistics: dict[str, Any], out: Path) -> None:
    """A mask's statistics beside it, as JSON and as a plot of its layers."""
    write_json(out.with_suffix(".json"), statistics)
    plot = saliency_layers(statistics)
    if plot is not None:
        write_text(out.with_suffix(".svg"), standalone_svg(plot, "Saliency and selected fraction by layer"))


def _config_of(mask: Path) -> MaskConfig:
    """The options that a mask was made with."""
    info = saliency.load(mask).info
    try:
        return build(MaskConfig, {name: info[name] for name in asdict(MaskConfig())})
    except (KeyError, ConfigError) as error:
        raise MaskError(f"mask {mask}: its metadata lack {error}; make it again with `mmunlearner mask`") from None


def _lay(mask: Path, place: Path) -> None:
    """Put the user's mask where the step looks for one."""
    content = mask.read_bytes()
    if place.exists() and place.read_bytes() != content:
        raise MaskError(f"mask {mask}: differs from that of the interrupted run; remove {place.parent.parent}")
    write_bytes(place, content)
