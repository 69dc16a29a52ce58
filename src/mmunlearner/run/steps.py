"""The steps of a run that need torch. Each reads and writes the run directory, and does nothing if it is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from mmunlearner import data, saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig, MethodConfig, Quantize, RunConfig
from mmunlearner.core.cost import Cost, measured
from mmunlearner.core.files import discard, read_json, staged_dir, write_json
from mmunlearner.core.progress import Progress
from mmunlearner.data import Example, Splits, prompt, target
from mmunlearner.data.splits import sample_by_entity
from mmunlearner.errors import ConfigError
from mmunlearner.evaluate import evaluate_model, quick_scores
from mmunlearner.models import Loaded, load, pick_device
from mmunlearner.run.collect import floor, in_words, validation_values
from mmunlearner.run.run_dir import RunDir, mask_name
from mmunlearner.run.tuning import COLUMNS, FORGOTTEN, Values, objective, with_settings
from mmunlearner.saliency import FisherPass, Mask
from mmunlearner.unlearn import Level, Trained, train_config, unlearn

NO_MODEL = "model.vanilla: no model to unlearn; name a directory or a hub id, or a model.base to train"


def read_splits(config: RunConfig, root: str) -> Splits:
    """A recipe's data, read from `root`, with the shots that its evaluation shows.

    Raises:
        DataError: the data cannot be read, or there are too few shots.
    """
    read = data.load(replace(config.data, root=root), seed=config.seed)
    return replace(read, evaluation=data.with_shots(read.evaluation, config.evaluate.shots, seed=config.seed))


@dataclass(frozen=True)
class Steps:
    """A run's steps over data that is read once."""

    run: RunDir
    progress: Progress = Progress()

    @cached_property
    def splits(self) -> Splits:
        return read_splits(self.run.config, self.run.root)

    @cached_property
    def validation(self) -> Mapping[str, Sequence[Example]]:
        """Items of the validation half of the forget and retain entities, which no score in the tables is made of."""
        config = self.run.config
        if not any(m.trials or train_config(config.train, m).stop_every for m in config.methods.values()):
            return {}
        judged = {column: items for column, items in self.splits.evaluation.items() if column in COLUMNS}
        half, _ = data.validation(replace(self.splits, evaluation=judged))
        return half.evaluation

    @cached_property
    def trial_items(self) -> Mapping[str, Sequence[Example]]:
        """The items that trials are judged by: of the validation half, so many of each column as the recipe says."""
        limit = self.run.config.trial_limit
        return {column: sample_by_entity(items, limit) for column, items in self.validation.items()}

    @cached_property
    def level(self) -> Level:
        """Where training may end: what is to be forgotten is known of the validation half as it is by the oracle."""
        config, groups = self.run.config, FORGOTTEN[self.run.config.goal]
        asked = {
            column: {item.id for item in sample_by_entity(self.splits.evaluation[column], config.evaluate.limit)}
            for group in groups
            for column in group
            if column in self.trial_items
        }
        items = {column: [i for i in self.trial_items[column] if i.id in ids] for column, ids in asked.items()}
        aim, source = floor(self.run, items)
        return Level(items, aim, {in_words(group[0]): group for group in groups}, source, config.evaluate)

    def load(self, source: str | Path, dtype: str = "", *, quantize: Quantize = "none") -> Loaded:
        """A model with whole weights, unless they are asked for with fewer bits."""
        model = self.run.config.model
        return load(
            source, dtype=dtype or model.weights, device=model.device, device_map=model.device_map, quantize=quantize,
            compute_dtype=model.dtype, attention=model.attention, trust_remote_code=model.trust_remote_code,
        )  # fmt: skip

    def source(self, reference: str) -> str:
        """Where the vanilla model or the oracle is; empty if the run has none."""
        given: str = getattr(self.run.config.model, reference)
        made = self.run.model(reference)
        return given or (str(made) if self.run.config.model.base else "")

    def finetune(self, reference: str) -> None:
        """Train the vanilla model, or the oracle, from the recipe's base model."""
        config = self.run.config
        if getattr(config.model, reference) or not config.model.base or self.run.trained(reference).exists():
            return
        taught = self.splits.vanilla_training if reference == "vanilla" else self.splits.oracle_training
        base = self._base()
        with measured() as cost:
            trained = unlearn(
                base, Splits((), taught, (), {}), MethodConfig("finetune"), config.finetune, self.run.work(reference),
                lora_config=config.finetune_lora, dtype=config.model.dtype, seed=config.seed,
                progress=self.progress.child(reference),
            )  # fmt: skip
        self._keep(reference, trained, cost, {})

    def _base(self) -> Loaded:
        config = self.run.config
        if config.model.base != "tiny":
            return self.load(config.model.base, quantize=config.model.quantize)
        from mmunlearner.models.tiny import from_oracle_weights

        asked = [*self.splits.vanilla_training, *chain.from_iterable(self.splits.evaluation.values())]
        return from_oracle_weights(
            (text for example in asked for text in (prompt(example), target(example))), seed=config.seed
        )

    @cached_property
    def passes(self) -> Mapping[str, FisherPass]:
        """The passes over the data sets that all masks of the run are cut from, by name."""
        wanted = [method.mask for method in self.run.config.methods.values() if method.mask is not None]
        return {each.name: each for each in saliency.fisher_passes(wanted)}

    def measure(self, name: str) -> None:
        """One of these passes."""
        if self.run.squares(name).exists():
            return

        encoder = Encoder(self.load(self.source("vanilla"), self.run.config.model.dtype))
        self.passes[name].measure(
            encoder, self.splits, progress=self.progress.child("masks"), store=self.run.all_squares
        )

    def mask(self, name: str, vanilla: Callable[[], Loaded] | None = None) -> Mask | None:
        """The mask of a method, made once and shared by those that ask for the same; `vanilla` loads its model."""
        wanted = self.run.method(name).mask
        if wanted is None:
            return None
        path = self.run.mask(mask_name(wanted))
        if not path.exists():
            made = self._compute(wanted, vanilla or self._vanilla)
            write_json(path.with_suffix(".json"), {**saliency.statistics(made), **asdict(made.cost)})
            made.save(path)
        return saliency.load(path)

    def _vanilla(self) -> Loaded:
        return self.load(self.source("vanilla"))

    def _compute(self, wanted: MaskConfig, vanilla: Callable[[], Loaded]) -> Mask:
        passes = saliency.fisher_passes([wanted])
        for each in passes:
            each.groups(self.splits)  # an empty set is found before anything long begins
        for each in passes:
            self.measure(each.name)
        hashes = data.data_hashes(self.run.root) if self.run.root else {}
        return saliency.compute(
            Encoder(vanilla()), self.splits, wanted, seed=self.run.config.seed, data_hashes=hashes,
            store=self.run.all_squares,
        )  # fmt: skip

    def masks(self) -> None:
        """All masks of the run; the squares, 32 times as large and more, are let go of when the last one is cut."""
        vanilla = cache(self._vanilla)  # read once for all of them
        for name in self.run.config.methods:
            self.mask(name, vanilla)
        discard(self.run.all_squares)

    def unlearn(self, name: str) -> None:
        """Make one of the recipe's models, with the settings that did best on the validation half."""
        if self.run.trained(name).exists():
            discard(self.run.work(name))
            return
        mask = self.mask(name)
        if not self.run.method(name).trials:
            with measured() as cost:
                trained = self._train(self.run.method(name), self.run.work(name), mask, self.progress.child(name))
            self._keep(name, trained, cost, {})
            return
        trials = self._tune(name, mask)
        settings = min(trials, key=lambda trial: trial["objective"])["settings"]
        best = self._best(name)
        if not best.exists():  # it is written before the record of its trial, so somebody took it away
            raise ConfigError(f"{best}: is missing although its trials are done; remove {best.parent} and run again")
        recorded = {**read_json(best / "train.json"), "settings": settings}
        cost = Cost(sum(t["seconds"] for t in trials), max(t["peak_memory_bytes"] for t in trials))
        write_json(best / "train.json", {**recorded, "tuning": {**asdict(cost), "trials": trials}})
        shutil.copy2(best / "log.jsonl", _made(self.run.log(name)))
        discard(self.run.model(name))
        best.rename(_made(self.run.model(name)))
        discard(self.run.work(name))

    def _best(self, name: str) -> Path:
        """The best model of the trials so far."""
        return self.run.path / "trials" / name / "best"

    def _train(self, method: MethodConfig, work: Path, mask: Mask | None, progress: Progress) -> Trained:
        config = self.run.config
        return unlearn(
            self.load(self.source("vanilla"), quantize=config.model.quantize), self.splits, method, config.train, work,
            mask=mask, lora_config=config.model.lora, dtype=config.model.dtype, seed=config.seed,
            progress=progress,
            level=self.level if train_config(config.train, method).stop_every else None,
        )  # fmt: skip

    def _tune(self, name: str, mask: Mask | None) -> list[dict[str, Any]]:
        """Try the method's trials; each is judged on the validation half. The best model is kept."""
        return [self._trial(name, number, mask) for number in range(len(self.run.method(name).trials))]

    def _trial(self, name: str, number: int, mask: Mask | None) -> dict[str, Any]:
        record = self.run.trial(name, number)
        if record.exists():
            return read_json(record)
        settings = dict(self.run.method(name).trials[number])
        work, count = self.run.work(name) / str(number), len(self.run.method(name).trials)
        steps = self.run.work_units(name) // count
        progress = self.progress.child(name).child(f"trial {number + 1} of {count}")
        progress = progress.part(number * steps, (number + 1) * steps, count * steps)
        with measured() as cost:
            trained = self._train(with_settings(self.run.method(name), settings), work, mask, progress)
        if self.run.config.model.quantize != "none":  # merged with the host
            trained.loaded.model.to(pick_device(self.run.config.model.device))  # pyright: ignore[reportArgumentType]
        values = {
            c: s.value
            for c, s in quick_scores(trained.loaded, self.trial_items, config=self.run.config.evaluate).items()
        }
        vanilla, (low, _) = validation_values(self.run, "vanilla", self.trial_items), floor(self.run, self.trial_items)
        result = {
            "settings": settings,
            "objective": objective(values, vanilla, low, self.run.config.goal),
            "accuracy": values,
            **asdict(cost),
        }
        best = self._best(name)
        if not best.exists() or result["objective"] < read_json(best / "train.json")["objective"]:
            self._write(best, trained, cost, settings, work / "log.jsonl", objective=result["objective"])
        write_json(record, result)
        discard(work)
        return result

    def _keep(self, name: str, trained: Trained, cost: Cost, settings: Values) -> None:
        shutil.copy2(self.run.work(name) / "log.jsonl", _made(self.run.log(name)))
        self._write(self.run.model(name), trained, cost, settings)
        discard(self.run.work(name))

    def _write(
        self,
        path: Path,
        trained: Trained,
        cost: Cost,
        settings: Mapping[str, float],
        log: Path | None = None,
        **extra: float,
    ) -> None:
        """An ordinary model directory, and beside the weights what it took to make them."""
        with staged_dir(path) as stage:
            trained.loaded.model.save_pretrained(stage)
            trained.loaded.processor.save_pretrained(stage)
            if log is not None:
                shutil.copy2(log, stage / "log.jsonl")
            made = {"settings": dict(settings), "moved": asdict(trained.moved), "steps": trained.steps}
            made |= {"look": trained.look} if trained.look else {}
            write_json(stage / "train.json", {**made, "tokens": trained.tokens, **asdict(cost), **extra})

    def make(self, name: str) -> None:
        """Unlearn, then evaluate."""
        self.unlearn(name)
        self.evaluate(name)

    def evaluate(self, name: str, *, quantize: Quantize = "none") -> None:
        """Ask one model everything, with its weights as they are saved, or quantised."""
        if (self.run.evaluation(name) / "cost.json").exists():
            return
        source = self.source(name) if name in ("vanilla", "oracle") else str(self.run.model(name))
        if not source:
            raise ConfigError(f"model.{name}: the run has none to evaluate")
        with measured() as cost:
            evaluate_model(
                self.load(source, quantize=quantize), self.splits.evaluation, self.run.evaluation(name),
                config=self.run.config.evaluate, progress=self.progress.child(f"evaluate {name}"),
            )  # fmt: skip
        write_json(self.run.evaluation(name) / "cost.json", asdict(cost))


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
