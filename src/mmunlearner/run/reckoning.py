"""What a recipe's steps take, reckoned from what is at hand: splits, a model's sizes, its processor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mmunlearner.batches import Batch, Encoder, micro_batches, share_prefixes
from mmunlearner.config import Part, RunConfig, TrainConfig
from mmunlearner.data import Example, Splits
from mmunlearner.methods import METHODS, BoundTerm, resolve
from mmunlearner.run import memory
from mmunlearner.run.memory import ORDER, Load, Memory, Sizes
from mmunlearner.run.run_dir import REFERENCES
from mmunlearner.saliency import FisherPass, fisher_passes
from mmunlearner.unlearn import train_config
from mmunlearner.unlearn.sampler import Plan, plan

SAMPLED_STEPS = 3
"""Steps of a plan whose tokens are counted; the others are taken to be like them."""
SAMPLED_ITEMS = 32
"""Rows of a set whose tokens are counted."""
FORWARD, BACKWARD = 2, 4
"""Floating-point operations per weight and token, of a pass and of its gradients (Kaplan et al. 2020)."""


@dataclass(frozen=True)
class SetCount:
    """One data set or evaluation column."""

    name: str
    questions: int
    images: int
    entities: int
    tokens: float | None
    """Mean tokens of a row, image tokens included; None where no processor is at hand."""


@dataclass(frozen=True)
class Work:
    """One thing that the run would make."""

    name: str
    steps: int | None
    """Optimizer steps, those of all trials included; gradients of a saliency pass, questions of an evaluation."""
    tokens: float | None = None
    memory: Memory | None = None
    operations: float | None = None
    """Floating-point operations."""


@dataclass(frozen=True)
class Reckoning:
    """Counts from what is at hand."""

    config: RunConfig
    splits: Splits | None
    size: Sizes | None
    encoder: Encoder | None
    model: Any

    def counts(self) -> Iterator[SetCount]:
        if self.splits is None:
            return
        named = {name: getattr(self.splits, name) for name in ("forget", "retain", "text", "background")}
        for name, examples in {**named, **self.splits.evaluation}.items():
            images = {key for e in examples for key in e.image_keys}
            entities = {e.entity for e in examples}
            yield SetCount(name, len(examples), len(images), len(entities), self._mean_tokens(examples))

    def _mean_tokens(self, examples: Sequence[Example]) -> float | None:
        if self.encoder is None or not examples:
            return None
        rows = self.encoder.rows(_spread(examples, SAMPLED_ITEMS))
        return sum(len(row.input_ids) for row in rows) / len(rows)

    def works(self) -> Iterator[Work]:
        config = self.config
        if config.model.base:
            for name in REFERENCES:
                if not getattr(config.model, name):
                    yield self._finetuning(name)
        for each in fisher_passes(m.mask for m in config.methods.values() if m.mask is not None):
            yield self._saliency(each)
        for name in config.methods:
            yield self._method(name)
        yield self._evaluation()

    def _finetuning(self, name: str) -> Work:
        taught: Sequence[Example] = ()
        if self.splits is not None:
            taught = self.splits.vanilla_training if name == "vanilla" else self.splits.oracle_training
        steps = self._plan((), taught, self.config.finetune)
        budget = self.config.finetune
        return self._training(f"fine-tuning {name}", steps, budget, 1, budget.steps, lora=self.config.finetune_lora)

    def _method(self, name: str) -> Work:
        method = self.config.methods[name]
        train, known = train_config(self.config.train, method), resolve(method.method, METHODS)
        forget: Sequence[Example] = self.splits.forget if self.splits and known.forget else ()
        retain: Sequence[Example] = self.splits.retain if self.splits and known.retain else ()
        if self.splits and known.retain and train.keep_text:
            retain = (*retain, *self.splits.text)
        trials = max(1, len(method.trials))
        once = train.steps * (train.retain_per_forget if known.forget and known.retain else 1)
        named = f"{name} ({trials} trials)" if trials > 1 else name
        parts = method.mask.parts if method.mask and train.free != "all" else ORDER
        return self._training(
            named, self._plan(forget, retain, train), train, trials, once * trials, terms=known.bind(method.options),
            parts=parts, masked=method.mask is not None, lora=self.config.model.lora,
        )  # fmt: skip

    def _plan(self, forget: Sequence[Example], retain: Sequence[Example], train: TrainConfig) -> Plan | None:
        return plan(forget, retain, train, self.config.seed) if forget or retain else None

    def _training(
        self,
        name: str,
        steps: Plan | None,
        train: TrainConfig,
        trials: int,
        count: int,
        terms: Sequence[BoundTerm | None] = (None, None),
        parts: Sequence[Part] = ORDER,
        **more: Any,
    ) -> Work:
        if self.size is None:
            return Work(name, count)
        loads = list(self._loads(steps, terms)) if steps else []
        largest = max(loads, key=partial(memory.activations, self.size, parts=parts), default=Load(0))
        model = self.config.model
        needed = memory.training(
            self.size, largest, train, parts=parts, dtype=model.dtype, weights=model.weights, quantize=model.quantize,
            **more,
        )  # fmt: skip
        if steps is None or not loads:
            return Work(name, count, memory=needed)
        share = len(steps) * trials / min(len(steps), SAMPLED_STEPS * steps.every)
        operations = sum(self._operations(each, FORWARD + BACKWARD) for each in loads) * share
        return Work(name, count, sum(each.seen for each in loads) * share, needed, operations)

    def _loads(self, steps: Plan, terms: Sequence[BoundTerm | None]) -> Iterator[Load]:
        """Each pass of the two terms in the first few steps."""
        if self.encoder is None:
            return
        for i in range(min(len(steps), SAMPLED_STEPS * steps.every)):
            for term, examples in zip(terms, (steps[i].forget, steps[i].retain), strict=True):
                owners = [example.entity for example in examples or ()]
                rows = self.encoder.rows(examples or ())
                for piece in micro_batches(rows, owners, self.encoder, steps.config.tokens_per_batch) if rows else ():
                    yield self._load(piece.batch, words=term is None or term.words)

    def _load(self, batch: Batch, *, words: bool = True) -> Load:
        config = self.model.config
        token: int | None = getattr(config, "image_token_id", None)
        shown = sum(int((each.inputs["input_ids"] == token).sum()) for each in batch.passes) if token is not None else 0
        images = sum(map(len, batch.images)) if shown else 0
        vision = images * memory.patches(self.model, shown // images) if images else 0
        return Load(batch.size, vision, len(batch.tokens)) if words or not shown else Load(0, vision, features=shown)

    def _operations(self, load: Load, per_weight: int) -> float:
        weights = self.size.weights if self.size else {}
        return float(per_weight * sum(load.tokens(part) * count for part, count in weights.items()))

    def _saliency(self, wanted: FisherPass) -> Work:
        name = f"saliency, {wanted.name}"
        groups = wanted.groups(self.splits) if self.splits is not None else []
        count = len(groups) if self.splits is not None else None
        if self.size is None:
            return Work(name, count)
        loads: list[Load] = []
        if self.encoder is not None:
            loads = [
                self._load(share_prefixes(self.encoder.rows(group), self.encoder)) for group in groups[:SAMPLED_STEPS]
            ]
        largest = max(loads, key=lambda each: each.language, default=Load(0))
        needed = memory.saliency(self.size, largest, wanted.parts, dtype=self.config.model.dtype)
        if not loads:
            return Work(name, count, memory=needed)
        share = len(groups) / len(loads)
        operations = share * sum(self._operations(each, FORWARD + BACKWARD) for each in loads)
        return Work(name, count, share * sum(each.seen for each in loads), needed, operations)

    def _evaluation(self) -> Work:
        """Every model reads every question once; what it generates is not known beforehand."""
        config = self.config
        references = [n for n in REFERENCES if getattr(config.model, n) or config.model.base]
        models = len(config.methods) + len(references)
        name = f"evaluation of {models} models"
        if self.splits is None:
            return Work(name, None)
        columns = [_limited(items, config.evaluate.limit) for items in self.splits.evaluation.values()]
        count = models * sum(map(len, columns))
        if self.encoder is None or self.size is None:
            return Work(name, count)
        tokens = operations = 0.0
        for items in columns:
            sample = _spread(items, SAMPLED_ITEMS)
            loads = [self._load(share_prefixes([row], self.encoder)) for row in self.encoder.rows(sample)]
            share = models * len(items) / max(len(loads), 1)
            tokens += share * sum(each.seen for each in loads)
            operations += share * sum(self._operations(each, FORWARD) for each in loads)
        return Work(name, count, tokens, operations=operations)


def _spread(examples: Sequence[Example], count: int) -> list[Example]:
    """So many, evenly through a set."""
    return list(examples[:: max(1, -(-len(examples) // count))])


def _limited(items: Sequence[Example], limit: int) -> Sequence[Example]:
    return items[:limit] if limit else items
