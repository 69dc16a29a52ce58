"""Log-likelihoods of candidate answers, and the greedy answer as far as the candidates reveal it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch

from mmunlearner.batches import Encoder, Row, answers, bucket_by_length, can_share, common_prefix_length, tree
from mmunlearner.core.progress import Progress
from mmunlearner.data import group_by
from mmunlearner.errors import ModelError
from mmunlearner.models import input_device

# Limits to the tokens of a tree beside its first row. A larger tree wastes attention on branches that do not see each
# other. A smaller one repeats the prefix that the branches share, and a long prefix is expensive to repeat.
_BRANCH_TOKENS, _BRANCH_TOKENS_PER_PREFIX_TOKEN = 256, 2

RowKey = tuple[tuple[str, ...], tuple[int, ...]]


class TokenScores(NamedTuple):
    """The model's prediction of each answer token of a row, its end token included."""

    logps: tuple[float, ...]
    """Log-probability of the token."""
    argmax: tuple[int, ...]
    """The most likely token in its place."""


def row_key(row: Row) -> RowKey:
    """Return the identity of a row."""
    # With its images: a placeholder token stands for any image, so rows of other images may have the same tokens.
    return row.group, row.input_ids


@dataclass
class LikelihoodScorer:
    """Scores rows with one model; many rows are packed into one sequence if the model allows it."""

    encoder: Encoder
    tokens_per_batch: int = 4096

    def score(self, rows: Iterable[Row], title: str = "", progress: Progress = Progress()) -> dict[RowKey, TokenScores]:
        """Score each row once; `progress` counts them under `title`.

        Raises:
            ModelError: a log-probability is not finite.
        """
        model = self.encoder.loaded.model
        unique = {row_key(row): row for row in rows}
        scores: dict[RowKey, TokenScores] = {}
        trees: list[list[Row]] = []
        for group in bounded_trees(unique.values()):
            trees += [group] if can_share(group, self.encoder) else [[row] for row in group]
        for bucket in bucket_by_length(((_tree_size(part), part) for part in trees), self.tokens_per_batch):
            batch = tree(bucket, self.encoder)
            with torch.inference_mode(), self.encoder.loaded.autocast():
                predicted = answers(model, batch.to(input_device(model)))
                # The argmax is taken before the logits leave the device: [T] instead of [T, vocabulary] is copied.
                logps, argmax = predicted.logps.cpu(), predicted.logits.argmax(-1).cpu()  # [T] each
            # A destroyed model (gradient ascent can overflow) would get scores that look like perfect forgetting.
            if not logps.isfinite().all():
                raise ModelError(f"model {self.encoder.loaded.source}: its log-probabilities are not finite numbers")
            # The answers of all rows stand one behind the other: cut them apart again.
            lengths = batch.question.bincount(minlength=batch.count).tolist()
            per_row = zip(logps.split(lengths), argmax.split(lengths), strict=True)
            keys = [row_key(row) for part in bucket for row in part]
            for key, (row_logps, row_argmax) in zip(keys, per_row, strict=True):
                scores[key] = TokenScores(tuple(row_logps.tolist()), tuple(row_argmax.tolist()))
            progress.update(title, len(scores), len(unique))
        return scores


def bounded_trees(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield groups of rows about the same images (texts form one group), each with a prefix tree of bounded size."""
    # Sorting puts rows with long common prefixes beside each other. Each then adds to the tree only the tokens that it
    # does not share with the row before.
    for group in group_by(sorted(rows, key=row_key), lambda row: row.group):
        part, branches = [group[0]], 0
        for previous, row in pairwise(group):
            branches += len(row.input_ids) - common_prefix_length(previous.input_ids, row.input_ids)
            if branches > max(_BRANCH_TOKENS, _BRANCH_TOKENS_PER_PREFIX_TOKEN * len(part[0].input_ids)):
                yield part
                part, branches = [], 0
            part.append(row)
        yield part


def _tree_size(rows: Sequence[Row]) -> int:
    """Return the number of tokens in the prefix tree of these rows."""
    # As in `bounded_trees`: once sorted, a row adds the tokens behind its common prefix with the row before.
    ids = sorted(row.input_ids for row in rows)
    return len(ids[0]) + sum(len(b) - common_prefix_length(a, b) for a, b in pairwise(ids))


def greedy_from_drafts(
    prompt: Row, drafts: Iterable[tuple[Row, TokenScores]], ends: frozenset[int], max_new_tokens: int
) -> tuple[int, ...]:
    """Return the model's greedy answer to a prompt, as far as drafts (scored rows of the same prompt) reveal it.

    Greedy decoding is an iterated argmax. A scored row gives the argmax behind the prompt and behind every prefix of
    its own answer, so the greedy answer can be followed token by token as long as it is a prefix of some draft, as in
    speculative decoding.
    """
    next_token: dict[tuple[int, ...], int] = {}
    for row, scores in drafts:
        # A tokenizer may merge the end of the prompt with the answer. The row's answer then starts earlier, behind
        # another prompt, and its argmaxes do not count.
        if row.answer_start == prompt.answer_start:
            next_token.update({row.answer[:i]: token for i, token in enumerate(scores.argmax)})
    answer: tuple[int, ...] = ()
    while len(answer) < max_new_tokens and answer in next_token and not (answer and answer[-1] in ends):
        answer = (*answer, next_token[answer])
    return answer
