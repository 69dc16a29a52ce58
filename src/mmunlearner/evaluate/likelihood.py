"""What a model makes of candidate answers: their log-probabilities, and what it would say in each token's place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch

from mmunlearner.batches import Batch, Encoder, Row, answers, bucket_by_length, can_share, common_prefix_length, tree
from mmunlearner.core.progress import Progress
from mmunlearner.errors import ModelError
from mmunlearner.models import input_device

# A tree of more tokens (beside its first row) wastes attention on branches that do not see each other; one of fewer
# repeats the beginning that its branches share, which costs the more the longer that is.
_BRANCHES, _BRANCHES_PER_TOKEN = 256, 2

RowKey = tuple[tuple[str, ...], tuple[int, ...]]


class Weighed(NamedTuple):
    """For each answer token of a row, its end token included."""

    logps: tuple[float, ...]
    best: tuple[int, ...]
    """The most likely token there."""


def key_of(row: Row) -> RowKey:
    """Rows of other images may have the same tokens."""
    return row.group, row.input_ids


@dataclass
class Scale:
    """Weighs rows with one model, many per sequence where the model allows that."""

    encoder: Encoder
    tokens_per_batch: int = 4096
    tokens: int = field(default=0, init=False)
    """Tokens that the model has seen here, padding included."""

    def weigh(self, rows: Iterable[Row], title: str = "", progress: Progress = Progress()) -> dict[RowKey, Weighed]:
        """Weigh each row once; `progress` counts them under `title`.

        Raises:
            ModelError: a log-probability is not finite.
        """
        unique = list({key_of(row): row for row in rows}.values())
        weighed: dict[RowKey, Weighed] = {}
        groups = self._together(unique)
        for some in bucket_by_length(((_size(group), group) for group in groups), self.tokens_per_batch):
            flat = [row for group in some for row in group]
            weighed.update(zip(map(key_of, flat), self._run(tree(some, self.encoder)), strict=True))
            progress.update(title, len(weighed), len(unique))
        return weighed

    def _together(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Groups that make one sequence each."""
        groups = grouped(rows)
        return [
            some for group in groups for some in ([group] if can_share(group, self.encoder) else [[r] for r in group])
        ]

    def _run(self, batch: Batch) -> list[Weighed]:
        self.tokens += batch.size
        model = self.encoder.loaded.model
        with torch.inference_mode():
            said = answers(model, batch.to(input_device(model)))
            logps, best = said.logps.cpu(), said.logits.argmax(-1).cpu()
        if not logps.isfinite().all():
            raise ModelError(f"model {self.encoder.loaded.source}: its log-probabilities are not finite numbers")
        lengths = batch.question.bincount(minlength=batch.count).tolist()
        parts = zip(logps.split(lengths), best.split(lengths), strict=True)
        return [Weighed(tuple(p.tolist()), tuple(b.tolist())) for p, b in parts]


def grouped(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of the same images (or texts) that make a tree of bounded size, those alike beside each other."""
    groups: list[list[Row]] = []
    branches = 0
    for row in sorted(rows, key=key_of):
        fits = groups and groups[-1][-1].group == row.group
        branches += len(row.input_ids) - common_prefix_length(groups[-1][-1].input_ids, row.input_ids) if fits else 0
        if fits and branches <= max(_BRANCHES, _BRANCHES_PER_TOKEN * len(groups[-1][0].input_ids)):
            groups[-1].append(row)
        else:
            groups.append([row])
            branches = 0
    return groups


def _size(group: Sequence[Row]) -> int:
    """Tokens of the tree that a group makes."""
    ids = sorted(row.input_ids for row in group)
    return len(ids[0]) + sum(len(b) - common_prefix_length(a, b) for a, b in pairwise(ids))


def spoken(asked: int, rows: Iterable[tuple[Row, Weighed]], ends: frozenset[int], longest: int) -> tuple[int, ...]:
    """The model's greedy answer, as far as it can be told from rows that were weighed.

    Greedy decoding is an iterated argmax: after the prompt (`asked` tokens) and any beginning of a candidate answer
    the model's next token is known, so that its answer is followed token by token, candidates serving as drafts only.
    """
    following: dict[tuple[int, ...], int] = {}
    for row, weighed in rows:
        answer = row.input_ids[row.answer_start :]
        if row.answer_start == asked:
            following.update({answer[:i]: token for i, token in enumerate(weighed.best)})
    said: tuple[int, ...] = ()
    while len(said) < longest and said in following and not (said and said[-1] in ends):
        said = (*said, following[said])
    return said
