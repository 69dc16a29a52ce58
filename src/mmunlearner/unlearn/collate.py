"""From the examples of a step to its tensors: batches, their reference, augmented images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmunlearner.batches import Batch, Encoder, micro_batches, share_prefixes
from mmunlearner.batches.augmentation import augment, can_augment
from mmunlearner.config import Augment
from mmunlearner.data import Example
from mmunlearner.errors import ConfigError
from mmunlearner.methods import BoundTerm, Reference, TermName
from mmunlearner.unlearn.reference import ReferenceCache, second_answers
from mmunlearner.unlearn.sampler import Step


@dataclass(frozen=True)
class TermBatch:
    """Some of one term's questions in one step: those of one forward and backward pass."""

    batch: Batch
    reference: Reference | None
    first: str
    """Id of the first question, to name the batch in an error."""
    share: float
    """Share of the term's questions in this step that are in this pass."""
    second: Batch | None = None
    """The same questions with their second answers, where the term has them."""


StepBatch = dict[TermName | Literal["relearned", "others"], tuple[TermBatch, ...]]
"""Output of the data loader for a training step: the passes of each term, and those of the copy (`Relearning`)."""


@dataclass(frozen=True)
class Collator:
    """Turns one `Step` of the sampler into tensors."""

    encoder: Encoder
    terms: Mapping[TermName, BoundTerm | None]
    reference: ReferenceCache | None
    augment: Augment = "none"
    """Terms whose images are shown in another view at each step."""
    seed: int = 0
    """Seed of the augmentation."""
    tokens: int = 0
    """Most tokens in one pass (`train.tokens_per_batch`); 0: no limit."""

    def __call__(self, steps: Sequence[Step]) -> StepBatch:
        (step,) = steps  # a batch of the data loader is one step
        return {
            "forget": self._term("forget", step.forget, [step.number, True]),
            "retain": self._term("retain", step.retain, [step.number, False]),
            "relearned": self._relearned(step.relearned or ()),
            "others": self._term("forget", step.others, [step.number, 2]),
        }

    def _relearned(self, examples: Sequence[Example]) -> tuple[TermBatch, ...]:
        """Return the passes of what the copy learns: images as they are, which is what an attacker has."""
        rows, owners = self.encoder.rows(examples), [example.entity for example in examples]
        parts = micro_batches(rows, owners, self.encoder, self.tokens) if rows else ()
        return tuple(TermBatch(p.batch, None, examples[p.numbers[0]].id, len(p.numbers) / len(rows)) for p in parts)

    def _term(self, name: TermName, examples: Sequence[Example] | None, stream: Sequence[int]) -> tuple[TermBatch, ...]:
        term = self.terms[name]
        if not examples or term is None:
            return ()
        rows, second_rows = self.encoder.rows(examples), second_answers(self.encoder, examples, term.needs)
        # Of the step and the batch alone, so that a resumed run sees the same views.
        rng = np.random.default_rng([self.seed, *stream])
        batches: list[TermBatch] = []
        for part in micro_batches(rows, [example.entity for example in examples], self.encoder, self.tokens):
            of_part = [rows[i] for i in part.numbers], [second_rows[i] for i in part.numbers if second_rows]
            reference = self.reference.of(*of_part, part.batch.images) if self.reference else None
            batch, second = part.batch, share_prefixes(of_part[1], self.encoder) if second_rows else None
            if self.augment in ("all", name):
                # A preference compares two answers about one view: the second batch draws the same numbers.
                same_views = copy.deepcopy(rng)
                batch = _augmented(batch, rng)
                second = _augmented(second, same_views) if second else None
            share = len(part.numbers) / len(rows)
            batches.append(TermBatch(batch, reference, examples[part.numbers[0]].id, share, second))
        return tuple(batches) if len(batches) == 1 else tuple(_with_features_scale(batches))


def _with_features_scale(batches: Sequence[TermBatch]) -> Iterator[TermBatch]:
    """Let distances of features be relative to those of all images of the step, whatever pass they are in.

    Otherwise passes would be weighted by the questions about their images.
    """
    references = [batch.reference for batch in batches if batch.reference]
    features = [reference.features for reference in references if "features" in reference.tensors]
    total = sum(float(tensor.float().pow(2).sum()) for tensor in features)
    for batch in batches:
        if batch.reference is None or "features" not in batch.reference.tensors:
            yield batch
            continue
        # The pass's loss is weighted by its share of the questions; its images count fully: divide the share out.
        scale = {"features_scale": torch.tensor(batch.share * total)}
        yield replace(batch, reference=replace(batch.reference, tensors={**batch.reference.tensors, **scale}))


def _augmented(batch: Batch, rng: np.random.Generator) -> Batch:
    """Return the batch with other views of its images."""

    def views(pixels: Tensor) -> Tensor:
        if not can_augment(pixels):
            shape = list(pixels.shape)
            raise ConfigError(f"train.augment: this model's images are not [N, C, H, W] but {shape}; leave it off")
        return augment(pixels, rng)

    def inputs_of(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: views(values) if name == "pixel_values" else values for name, values in inputs.items()}

    return replace(batch, passes=tuple(replace(p, inputs=inputs_of(p.inputs)) for p in batch.passes))
