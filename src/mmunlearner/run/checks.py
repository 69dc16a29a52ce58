"""Checks of a recipe before any long work begins; runs, forecasts, sweeps and single commands share them.

`check` is about options alone; `examine` reads the data, and the models' structure without their weights.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from mmunlearner.batches import Encoder, check_fit
from mmunlearner.config import FinetuneConfig, RunConfig, TrainConfig
from mmunlearner.core import recipes
from mmunlearner.data import Splits
from mmunlearner.data.load import is_at_hand
from mmunlearner.errors import ConfigError, MaskError, MMUnlearnerError, ModelError
from mmunlearner.methods import METHODS, resolve
from mmunlearner.models import Loaded, chosen_layers, load_skeleton, longest_row, meta_model
from mmunlearner.models.load import check_placement
from mmunlearner.models.processor import load_processor
from mmunlearner.models.quantization import check_quantization, require_bitsandbytes
from mmunlearner.models.sources import WHOLE_WEIGHTS, find_sources
from mmunlearner.run.run_dir import REFERENCES, RunDir
from mmunlearner.run.stages import check_stages, stages
from mmunlearner.run.tuning import with_settings
from mmunlearner.run.validation import validation_items
from mmunlearner.saliency import fisher_passes
from mmunlearner.saliency.fisher import candidate_names
from mmunlearner.unlearn import make_adapter, train_config
from mmunlearner.unlearn.job import check_options, check_sets, check_trackers
from mmunlearner.unlearn.trainer import check_checkpointing


def check(config: RunConfig, *, installed: bool = True) -> RunConfig:
    """Return the same recipe with every option checked; with `installed`, also that this machine can run it.

    Raises:
        ConfigError: an option has a wrong type or is out of range, there is no model to unlearn, a method or an option
            of a method or of its trials does not exist, or options exclude each other.
        MaskError: a mask would act on nothing.
        ModelError: bitsandbytes is needed and not installed, or the device is not there.
    """
    # A recipe built in Python has not passed the YAML reader: its types are checked here first.
    config = recipes.check(config)
    model = config.model
    if not model.vanilla and not model.base:
        raise ConfigError(
            "model.vanilla: no model to unlearn; name a directory or a hub id, or a model.base to train"
        )  # fmt: skip
    _check_names(config)
    if config.choosing_folds and not config.folds and not config.only_chooses:
        raise ConfigError(
            f"choosing_folds {', '.join(config.choosing_folds)}: no fold is left for the report; name some with folds"
        )
    adapter = make_adapter(model.lora, model.adapter)
    for name, method in config.methods.items():
        try:
            # Without trials the method's own options are checked, as those of one trial without settings.
            for settings in method.trials or ({},):
                trial = with_settings(method, settings)
                terms, train = resolve(trial.method, METHODS), _checked(train_config(config.train, trial))
                check_trackers(train.report_to)
                parts = trial.mask.parts if trial.mask else None
                # What is left to the method is filled in, except the steps that follow from the data.
                check_options(terms, trial.options, terms.budget.fill(train, 0), mask_parts=parts, adapter=adapter)
        except (ConfigError, MaskError) as error:
            # The rooms behind these checks do not know under which name the recipe lists the method.
            raise type(error)(f"methods.{name}: {error}") from None
    _check_finetuning(config)
    check_quantization(config)
    if installed:
        require_bitsandbytes(model.quantize)
        check_placement(model.device, model.device_map, model.attention)
    return config


def _check_finetuning(config: RunConfig) -> None:
    """Raise where an option of fine-tuning, or of one of its stages, does not fit."""
    method = METHODS["finetune"]
    for where, train in _finetunings(config.finetune).items():
        if train.stop_every:
            raise ConfigError(f"{where}.stop_every is {train.stop_every}: fine-tuning forgets nothing; set it to 0")
        if config.model.needs_finetuning:
            check_trackers(train.report_to)
            budget, adapter = method.budget.fill(train, 0), make_adapter(config.finetune_lora)
            try:
                check_options(method, {}, budget, mask_parts=None, adapter=adapter)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None


def _finetunings(config: FinetuneConfig) -> dict[str, TrainConfig]:
    """Return the trainings of fine-tuning by the names of their options."""
    planned = stages(config)
    return {f"finetune.stages[{n}]" if config.stages else "finetune": stage.train for n, stage in enumerate(planned)}


def _checked(train: TrainConfig) -> TrainConfig:
    """Return a budget with the settings of a trial, which no reader of recipes has seen, checked."""
    try:
        return recipes.check(train)
    except ConfigError as error:
        raise ConfigError(f"train.{error}") from None


def _check_names(config: RunConfig) -> None:
    """Refuse two models of one folder: some file systems do not tell large letters from small ones."""
    folders = Counter(name.casefold() for name in config.methods)
    for name in config.methods:
        if name.casefold() in REFERENCES:
            raise ConfigError(f"methods.{name}: this name is taken by a reference model; choose another")
        if folders[name.casefold()] > 1:
            raise ConfigError(f"methods.{name}: another method has this name, but for large letters; choose another")


@dataclass(frozen=True)
class Examined:
    """Data and models of a run, as far as they are at hand; None: not at hand."""

    splits: Splits | None
    model: PreTrainedModel | None
    """The model that training starts from, without its weights."""
    encoder: Encoder | None
    unknown: tuple[str, ...]
    """Inputs that are not at hand, and why."""


def examine(run: RunDir, *, strict: bool = True) -> Examined:
    """Read the data of a run and its models' structure, and raise where something would fail later.

    Without `strict`, what is not on this machine is listed and not examined.

    Raises:
        MMUnlearnerError: the data or a model cannot be read, a set that is needed is empty, a question, picture or mask
            does not fit the model, or too few entities are there to choose settings on.
    """
    config, unknown = run.config, list[str]()
    splits = _read_splits(run, unknown, strict=strict)
    if splits:
        _check_data(run)
    # `tiny` is the shipped oracle with a vocabulary of the data's own words, which is known in the run only.
    base = {"tiny": "people:oracle"}.get(config.model.base, config.model.base)
    base = base if config.model.needs_finetuning else ""
    sources = [source for source in dict.fromkeys((base, config.model.vanilla, config.model.oracle)) if source]
    models = {source: _read_model(run, source, unknown, strict=strict) for source in sources}
    for model, encoder in models.values():
        if model:
            _check_model(run, model)
        if encoder:
            _check_encoder(run, encoder, splits)
    return Examined(splits, *models[sources[0]], tuple(unknown))


def _read_splits(run: RunDir, unknown: list[str], *, strict: bool) -> Splits | None:
    if strict or is_at_hand(run.config.data):
        return run.splits
    try:
        return run.splits
    except ConfigError:  # the recipe is wrong: to be corrected, not to be estimated without data
        raise
    except MMUnlearnerError as error:
        unknown.append(f"data: {error}")
        return None


def _check_data(run: RunDir) -> None:
    for name, method in run.config.methods.items():
        try:
            check_sets(resolve(method.method, METHODS), run.splits)
        except MMUnlearnerError as error:
            raise type(error)(f"methods.{name}: {error}") from None
    if run.config.model.needs_finetuning:
        for name in (name for name in run.references if not getattr(run.config.model, name)):
            check_stages(run.config.finetune, run.splits, name)
    for fisher_pass in fisher_passes(run.masks.values()):
        fisher_pass.groups(run.splits)
    validation_items(run)


def _read_model(
    run: RunDir, source: str, unknown: list[str], *, strict: bool
) -> tuple[PreTrainedModel | None, Encoder | None]:
    trust = run.config.model.trust_remote_code
    folder = _folder(source)
    if strict or any((folder / name).is_file() for name in WHOLE_WEIGHTS):
        loaded = load_skeleton(source, trust_remote_code=trust)
        return loaded.model, Encoder(loaded)
    try:
        model = meta_model(source, trust_remote_code=trust)
    except ModelError as error:
        if (folder / "config.json").is_file():  # it is at hand, and wrong
            raise
        unknown.append(f"memory and time: {error}")
        return None, None
    try:
        processor = load_processor(find_sources(source), trust_remote_code=trust)
    except ModelError as error:
        unknown.append(f"tokens, activations and time: {error}")
        return model, None
    return model, Encoder(Loaded(model.eval(), processor, source))


def _folder(source: str) -> Path:
    """Return the folder of a model's weights; of one that is not here, a folder that is not there either."""
    try:
        return Path(find_sources(source).weights)
    except ModelError:
        return Path(source)


def _check_model(run: RunDir, model: PreTrainedModel) -> None:
    """Raise where a mask or an option of training does not fit the model's structure."""
    config = run.config
    for mask in run.masks.values():
        names = candidate_names(model, mask.parts)
        if not names:
            raise MaskError(
                f"mask: no linear weight of {type(model).__name__} lies in {', '.join(mask.parts)}: the mask would act "
                "on nothing"
            )
        weights = dict(model.named_parameters())
        if mask.density and mask.density * (count := sum(weights[name].numel() for name in names)) < 1:
            raise MaskError(f"mask.density {mask.density:g}: of {count:,} weights it selects none; set it higher")
    trainings = {f"methods.{name}: ": train_config(config.train, method) for name, method in config.methods.items()}
    if config.model.needs_finetuning:
        trainings |= {f"{where}: ": train for where, train in _finetunings(config.finetune).items()}
    for where, train in trainings.items():
        try:
            chosen_layers(model, train.layers)
        except ConfigError as error:
            raise ConfigError(f"{where}{error}") from None
        if train.checkpointing:
            check_checkpointing(model)


def _check_encoder(run: RunDir, encoder: Encoder, splits: Splits | None) -> None:
    """Raise where questions, pictures or answers do not fit the model."""
    limit, answer = longest_row(encoder.loaded), run.config.evaluate.max_new_tokens
    if limit is not None and answer >= limit:
        raise ConfigError(
            f"evaluate.max_new_tokens {answer}: {encoder.loaded.source} takes {limit} tokens, question and answer "
            "together; set it lower"
        )
    if splits:
        check_fit(encoder, splits.sets)
