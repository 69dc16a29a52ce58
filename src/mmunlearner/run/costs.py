"""Costs of each step: counts, tokens, memory and operations, from data, a model's sizes and its processor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, reduce
from typing import Any

from mmunlearner.batches import Batch, Encoder, micro_batches, share_prefixes
from mmunlearner.config import LoadConfig, MaskConfig, Part, RunConfig, TrainConfig
from mmunlearner.data import Example, Splits
from mmunlearner.methods import METHODS, BoundTerm, Method, resolve
from mmunlearner.run import memory
from mmunlearner.run.memory import NO_LAYERS, ORDER, ForwardSize, Layers, Memory, Sizes, depth, trained_share
from mmunlearner.run.stages import stages, training_questions
from mmunlearner.saliency import FisherPass
from mmunlearner.unlearn import planned_budget
from mmunlearner.unlearn.sampler import StepSampler

# Tokens are counted in a few steps of a training and in a few rows of a data set; their mean stands for the rest.
SAMPLED_STEPS = 3
SAMPLED_ITEMS = 32
PRODUCT = 2
"""Floating-point operations per weight and token of a product: of a forward pass, of the gradient of its input, and of
that of its weight (Kaplan et al. 2020)."""
# For a candidate weight of a mask, by beta and by density. Its time is that of memory and not of arithmetic: these are
# operations of a matrix product that takes as long (18 and 83 ns in layers of 16 million weights, on one CPU thread).
COMPARISON, THRESHOLD = 1450, 6700
EDIT_QUESTIONS = 2048  # that an edit reads, about: only the edit itself knows how many


@dataclass(frozen=True)
class StepCost:
    """Forecast of one step; a figure is None where the data, processor or configuration that it needs is missing."""

    name: str
    steps: int | None
    """Optimizer steps, those of all trials included; gradients of a Fisher pass; masks; questions of an evaluation."""
    tokens: float | None = None
    memory: Memory | None = None
    operations: float | None = None
    """Floating-point operations."""


@dataclass(frozen=True)
class Estimator:
    """Inputs of all estimates of cost."""

    config: RunConfig
    splits: Splits | None
    sizes: Sizes | None
    encoder: Encoder | None
    model: Any
    """The model without its weights."""
    trial_items: Mapping[str, Sequence[Example]] = field(default_factory=dict)
    """Column -> items that judge a trial."""

    def forward_size(self, batch: Batch, *, words: bool = True) -> ForwardSize:
        """Return the size of one forward pass; without `words`, of one that ends at the image features."""
        token: int | None = getattr(self.model.config, "image_token_id", None)
        ids = [forward.inputs["input_ids"] for forward in batch.passes]
        image_tokens = sum(int((tokens == token).sum()) for tokens in ids) if token is not None else 0
        images = sum(map(len, batch.images)) if image_tokens else 0
        # The vision encoder sees more positions than it returns tokens where it merges patches.
        patches = images * memory.patches(self.model, image_tokens // images) if images else 0
        if words or not image_tokens:
            return ForwardSize(batch.size, patches, len(batch.tokens))
        return ForwardSize(0, patches, features=image_tokens)

    def forward_operations(self, size: ForwardSize) -> float:
        """Return the floating-point operations of a forward pass; a table that is looked up takes none."""
        assert self.sizes
        products = sum(size.tokens(part) * count for part, count in self.sizes.products.items())
        return float(PRODUCT * (products + size.answers * self.sizes.head))

    def training_operations(
        self, size: ForwardSize, parts: Sequence[Part], layers: Layers = NO_LAYERS, *, adapters: bool = False
    ) -> float:
        """Return the operations of a pass forward and backward in which these parts, or some of their layers, train.

        No gradient reaches what lies before the first of them, and weights that do not train have none of their own;
        nor have those under `adapters`, whose own numbers are left out.
        """
        assert self.sizes
        products = self.sizes.products
        trained: list[Part] = [part for part in ORDER if part in parts]
        behind = ORDER[ORDER.index(trained[0]) :] if trained else ()
        inputs = sum(
            (depth(self.sizes, part, layers) if part == trained[0] else 1.0) * size.tokens(part) * products[part]
            for part in behind
        )
        weights = sum(trained_share(self.sizes, part, layers) * size.tokens(part) * products[part] for part in trained)
        head = self.sizes.head * size.answers
        inputs, weights = (
            inputs + head * bool(trained),
            weights + head * ("language" in trained and "language" not in layers),
        )
        return self.forward_operations(size) + PRODUCT * (inputs + (0 if adapters else weights))

    def step_sizes(self, training: Training, steps: StepSampler, number: int) -> Iterator[ForwardSize]:
        """Yield the size of each forward pass of both terms in one step; none without an encoder."""
        if self.encoder is None:
            return
        step, tokens = steps[number], training.train.tokens_per_batch
        forget, retain = training.terms
        batches = ((forget, step.forget), (retain, step.retain), (None, step.relearned), (forget, step.others))
        for term, examples in batches:
            if examples:
                owners = [example.entity for example in examples]
                for micro_batch in micro_batches(self.encoder.rows(examples), owners, self.encoder, tokens):
                    # A term on the image features alone never runs the language model.
                    yield self.forward_size(micro_batch.batch, words=term is None or term.needs.language_model)

    @cached_property
    def reading(self) -> StepCost:
        """The cost of reading every evaluation item once; the length of generated answers is not known beforehand."""
        if self.splits is None:
            return StepCost("", None)
        limit = self.config.evaluate.limit
        return self.reading_of([items[: limit or len(items)] for items in self.splits.evaluation.values()])

    @cached_property
    def trial_reading(self) -> StepCost:
        """The cost of reading the items that judge a trial once."""
        return self.reading_of(list(self.trial_items.values()))

    def reading_of(self, columns: Sequence[Sequence[Example]]) -> StepCost:
        """Return the cost of reading these items once."""
        count = sum(map(len, columns))
        if self.encoder is None or self.sizes is None:
            return StepCost("", count)
        tokens = operations = 0.0
        for items in columns:
            rows = self.encoder.rows(sample(items, SAMPLED_ITEMS))
            sizes = [self.forward_size(share_prefixes([row], self.encoder)) for row in rows]
            share = len(items) / max(len(sizes), 1)  # questions that each sampled one stands for
            tokens += share * sum(size.all_tokens for size in sizes)
            operations += share * sum(self.forward_operations(size) for size in sizes)
        return StepCost("", count, tokens, operations=operations)


@dataclass(frozen=True)
class Training:
    """A training whose cost is estimated."""

    train: TrainConfig
    model: LoadConfig
    steps: int
    """Optimizer steps, those of all trials included."""
    forget: Sequence[Example] = ()
    retain: Sequence[Example] = ()
    terms: tuple[BoundTerm | None, BoundTerm | None] = (None, None)
    trials: int = 1
    parts: Sequence[Part] = ORDER
    masked: bool = False
    relearn_steps: int = 0
    """Steps of the copy that relearns until it starts anew; 0: there is no copy."""


def finetuning(estimator: Estimator, name: str) -> StepCost:
    """Estimate the training of the vanilla model or the oracle, all its stages."""
    config, splits = estimator.config, estimator.splits
    model, of_stages = replace(config.model, lora=config.finetune_lora), list[StepCost]()
    for stage in stages(config.finetune):
        examples = stage.examples(training_questions(splits, name)) if splits is not None else ()
        # As in the run, where fine-tuning is a training whose retain term has all the examples.
        train = stage.budget(splits)
        training = Training(train, model, train.steps, retain=examples, parts=train.parts)
        of_stages.append(training_cost(estimator, f"finetune {name}", training))
    return reduce(_after, of_stages)


def _after(first: StepCost, second: StepCost) -> StepCost:
    """Return the cost of two trainings one after the other; a figure that one of them lacks is absent."""

    def add(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a + b

    memories = [cost.memory for cost in (first, second) if cost.memory]
    return StepCost(
        first.name,
        None if first.steps is None or second.steps is None else first.steps + second.steps,
        add(first.tokens, second.tokens),
        max(memories, key=lambda memory: memory.total, default=None),
        add(first.operations, second.operations),
    )


def unlearning(estimator: Estimator, name: str) -> StepCost:
    """Estimate one method, its trials included."""
    config, splits, method = estimator.config, estimator.splits, estimator.config.methods[name]
    train, terms = planned_budget(config.train, method, splits), resolve(method.method, METHODS)
    if terms.edit:
        examples = splits.forget if splits else ()
        read = estimator.reading_of([sample(examples, SAMPLED_ITEMS)])
        # It reads about so many questions; there are no gradient steps.
        operations = read.operations and read.operations * EDIT_QUESTIONS / max(1, read.steps or 0)
        return StepCost(f"unlearn {name}", 0, operations=operations)
    forget: Sequence[Example] = splits.forget if splits and terms.forget else ()
    retain: Sequence[Example] = splits.retain if splits and terms.retain else ()
    if splits and terms.retain and train.keep_text:
        retain = (*retain, *splits.text)
    trials = max(1, len(method.trials))
    steps, relearning = optimizer_steps(terms, train), terms.bind_relearning(method.options)
    training = Training(
        train, config.model, steps * trials, forget, retain, terms.bind(method.options), trials,
        # With `free: all` the retain term moves weights outside the mask's parts too, whose gradients are held.
        parts=method.mask.parts if method.mask and train.free != "all" else train.parts,
        masked=method.mask is not None,
        relearn_steps=int(relearning.relearn_steps) if relearning and len({e.entity for e in forget}) > 1 else 0,
    )  # fmt: skip
    cost = training_cost(estimator, f"unlearn {name}{f' ({trials} trials)' if trials > 1 else ''}", training)
    if method.trials and cost.operations is not None:  # each trial is judged by the answers of its model
        judging = estimator.trial_reading.operations or 0.0
        cost = replace(cost, operations=cost.operations + trials * judging)
    return cost


def optimizer_steps(method: Method, train: TrainConfig) -> int:
    """Return the steps of one training: with both terms, each forget step is followed by steps of retain batches."""
    if method.edit:
        return 0
    return train.steps * (train.retain_per_forget if method.forget and method.retain else 1)


def training_cost(estimator: Estimator, name: str, training: Training) -> StepCost:
    """Estimate a training from its first steps."""
    if estimator.sizes is None:
        return StepCost(name, training.steps)
    train = training.train
    steps: StepSampler | None = None
    if training.forget or training.retain:
        steps = StepSampler.of(
            training.forget, training.retain, train, estimator.config.seed, relearn_steps=training.relearn_steps
        )
    # Whole cycles of a forget step and its retain steps, so that the mean has both in the right proportion.
    counted = min(len(steps), SAMPLED_STEPS * steps.every) if steps else 0
    sizes = [size for i in range(counted) for size in estimator.step_sizes(training, steps, i)] if steps else []
    # The copy that relearns trains whole.
    parts, layers = (ORDER, NO_LAYERS) if training.relearn_steps else (training.parts, train.layers)
    stored = partial(memory.activations, estimator.sizes, parts=parts, layers=layers)
    largest = max(sizes, key=stored, default=ForwardSize(0))
    # Of the largest pass in the sample: a longer one later in the training would need more.
    needed = memory.training(
        estimator.sizes, largest, train, training.model,
        parts=training.parts, masked=training.masked, relearning=bool(training.relearn_steps),
    )  # fmt: skip
    if steps is None or not sizes:
        return StepCost(name, training.steps, memory=needed)
    share = len(steps) * training.trials / counted
    # A masked adapter computes the gradient of the weight that it is put on.
    adapters = bool(training.model.lora.rank) and not training.masked
    operations = share * sum(estimator.training_operations(size, parts, layers, adapters=adapters) for size in sizes)
    return StepCost(name, training.steps, share * sum(size.all_tokens for size in sizes), needed, operations)


def fisher(estimator: Estimator, fisher_pass: FisherPass) -> StepCost:
    """Estimate one pass over a data set for the masks."""
    name, encoder = f"measure {fisher_pass.name}", estimator.encoder
    groups = fisher_pass.groups(estimator.splits) if estimator.splits is not None else []
    count = len(groups) if estimator.splits is not None else None
    if estimator.sizes is None:
        return StepCost(name, count)
    sizes: list[ForwardSize] = []
    if encoder is not None:
        sizes = [
            estimator.forward_size(share_prefixes(encoder.rows(group), encoder)) for group in groups[:SAMPLED_STEPS]
        ]
    largest = max(sizes, key=lambda size: size.language, default=ForwardSize(0))
    needed = memory.saliency(estimator.sizes, largest, fisher_pass.parts, dtype=estimator.config.model.dtype)
    if not sizes:
        return StepCost(name, count, memory=needed)
    share = len(groups) / len(sizes)
    operations = share * sum(estimator.training_operations(size, fisher_pass.parts) for size in sizes)
    return StepCost(name, count, share * sum(size.all_tokens for size in sizes), needed, operations)


def masks(estimator: Estimator, configs: Sequence[MaskConfig]) -> StepCost:
    """Estimate the masks that follow from the squared gradients: comparisons of every candidate weight."""
    if estimator.sizes is None:
        return StepCost("masks", len(configs))
    candidates = estimator.sizes.candidates
    operations = sum(
        (THRESHOLD if config.density else COMPARISON) * sum(candidates[part] for part in config.parts)
        for config in configs
    )
    return StepCost("masks", len(configs), operations=operations)


def evaluation(estimator: Estimator, name: str) -> StepCost:
    """Estimate the evaluation of one model."""
    # All models read the same questions: the reading is counted once for all of them.
    reading = estimator.reading
    return StepCost(f"evaluate {name}", reading.steps, reading.tokens, operations=reading.operations)


def sample(examples: Sequence[Example], count: int) -> list[Example]:
    """Return at most `count` examples, evenly through a set."""
    return list(examples[:: max(1, -(-len(examples) // count))])  # the stride is rounded up, so never more than `count`
