"""A model answers a benchmark: items -> `COLUMN.jsonl`, one line each -> `scores.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmunlearner.batches import Encoder, Row
from mmunlearner.config import EvaluateConfig
from mmunlearner.core.files import read_json, write_json, write_jsonl
from mmunlearner.core.progress import Progress
from mmunlearner.data import Example, prompt, target
from mmunlearner.data.prompts import (
    AnswerPools,
    answer_pools,
    candidate_answers,
    item_fields,
    open_question,
    option_letters,
)
from mmunlearner.data.splits import sample_by_entity
from mmunlearner.errors import DataError
from mmunlearner.evaluate.generate import generate
from mmunlearner.evaluate.likelihood import LikelihoodScorer, RowKey, TokenScores, greedy_from_drafts, row_key
from mmunlearner.evaluate.metrics import accuracy
from mmunlearner.evaluate.scores import ModelScores, Score, mean_score, read_lines, rescore
from mmunlearner.models import Loaded, fetch_weight

# Candidates make about so many tokens per question once their common beginnings are shared; larger batches gain
# nothing on a CPU.
_TOKENS_PER_QUESTION = 32
# Answers that are no candidate are mostly short too: so many more tokens are weighed before `generate` is called.
_MORE_TOKENS = 2
# Weighing another token reads the whole prompt again, which is not worth it where an image makes it longer than this.
_SHORT_PROMPT = 256


def evaluate_model(
    loaded: Loaded,
    evaluation: Mapping[str, Sequence[Example]],
    out_dir: Path | str,
    *,
    config: EvaluateConfig | None = None,
    progress: Progress = Progress(),
) -> ModelScores:
    """Ask a model every item of every column; write `out_dir/COLUMN.jsonl`, then `out_dir/scores.json`.

    Columns that are there already, of the same weights, settings and items, are kept.

    Raises:
        DataError: `out_dir` holds another model's answers, or answers to other questions.
        ModelError: the model's log-probabilities are not finite.
    """
    config, out_dir = config or EvaluateConfig(), Path(out_dir)
    _claim(loaded, config, out_dir)
    chosen = {column: sample_by_entity(examples, config.limit) for column, examples in evaluation.items()}
    done, total = 0, sum(map(len, chosen.values()))
    with _answering(loaded, config, evaluation) as answering:
        for column, items in chosen.items():
            path = out_dir / f"{column}.jsonl"
            if items and not _complete(path, items, column):
                part = progress.part(done, done + len(items), total)
                write_jsonl(path, answering.lines(items, column, part))
            done += len(items)
    return rescore(out_dir)


def quick_scores(
    loaded: Loaded,
    columns: Mapping[str, Sequence[Example]],
    *,
    config: EvaluateConfig | None = None,
) -> dict[str, Score]:
    """Accuracy of each column alone, in memory: by the rules of `evaluate_model`, at a fraction of its cost."""
    config = config or EvaluateConfig()
    chosen = {column: sample_by_entity(items, config.limit) for column, items in columns.items() if items}
    with _answering(loaded, config, columns) as answering:
        return {column: answering.accuracy(items, column) for column, items in chosen.items()}


def _claim(loaded: Loaded, config: EvaluateConfig, out_dir: Path) -> None:
    """Make the folder this model's, or see that it is."""
    inputs = {"weights": fingerprint(loaded), **asdict(config)}
    path = out_dir / "inputs.json"
    if not path.exists():
        write_json(path, inputs)
    found = read_json(path)
    differing = [name for name in inputs if not isinstance(found, dict) or found.get(name) != inputs[name]]
    if differing:
        raise DataError(
            f"{out_dir}: holds an evaluation with other {', '.join(differing)}; remove it or name another folder"
        )


def _complete(path: Path, items: Sequence[Example], column: str) -> bool:
    """Whether the column has been answered; it is written whole or not at all."""
    if not path.exists():
        return False
    wanted = [item_fields(item, column) for item in items]
    lines = read_lines(path)
    if len(lines) != len(wanted) or any(
        w != {k: line.get(k) for k in w} for w, line in zip(wanted, lines, strict=True)
    ):
        raise DataError(f"{path}: holds answers to other questions; remove it or name another folder")
    return True


def fingerprint(loaded: Loaded) -> str:
    """Name of the weights: equal for bit-identical weights, whatever the device."""
    digest = hashlib.sha256()
    for name in sorted(name for name, _ in loaded.model.named_parameters()):
        found = fetch_weight(loaded.model, name)
        bits = found.flatten().view(torch.uint8).view(-1, found.element_size())
        sums = bits.sum(0, dtype=torch.int64)  # integers: no rounding, so no order of summation
        digest.update(f"{name} {tuple(found.shape)} {found.dtype} {sums.tolist()}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Asked:
    """One item in tokens."""

    item: Example
    asked: Row
    """The prompt, and no answer yet."""
    letters: dict[str, Row]
    """Letters as answers to a multiple choice."""
    words: dict[str, Row]
    """Answers in words to the open question."""

    @property
    def drafts(self) -> list[Row]:
        """Candidate answers to the item's own prompt."""
        return list((self.letters or self.words).values())


@contextmanager
def _answering(
    loaded: Loaded, config: EvaluateConfig, columns: Mapping[str, Sequence[Example]]
) -> Iterator[_Answering]:
    """The model in eval mode, and back in the mode that it was in."""
    training = loaded.model.training
    loaded.model.eval()
    try:
        yield _Answering(Encoder(loaded), config, answer_pools(columns.values()))
    finally:
        loaded.model.train(training)


@dataclass
class _Answering:
    """One model under examination."""

    encoder: Encoder
    config: EvaluateConfig
    pools: AnswerPools
    scorer: LikelihoodScorer = field(init=False)

    def __post_init__(self) -> None:
        self.scorer = LikelihoodScorer(self.encoder, self.config.batch_size * _TOKENS_PER_QUESTION)

    def lines(self, items: Sequence[Example], column: str, progress: Progress) -> list[dict[str, Any]]:
        """The lines of one column, in the order of its items."""
        weigh = self.config.candidates
        asked = [self._ask(item) if weigh else self._ask_briefly(item) for item in items]
        weighed, outputs = self._answer(asked, column, progress)
        return [
            item_fields(item, column) | {"output": output} | (_weights(each, weighed) if weigh else {})
            for item, each, output in zip(items, asked, outputs, strict=True)
        ]

    def accuracy(self, items: Sequence[Example], column: str) -> Score:
        """Share of right answers alone."""
        _, outputs = self._answer([self._ask_briefly(item) for item in items], column, Progress())
        lines = [item_fields(i, column) | {"output": o} for i, o in zip(items, outputs, strict=True)]
        return mean_score([accuracy(line) for line in lines], [item.entity for item in items])

    def _ask(self, item: Example) -> _Asked:
        question, opened = prompt(item), open_question(item)
        in_words = candidate_answers(item, self.pools)
        letters = {text: self.encoder.conversation(question, text, item.images) for text in option_letters(item)}
        words = {text: self.encoder.conversation(opened, text, item.images) for text in in_words}
        return _Asked(item, self.encoder.prompt(question, item.images), letters, words)

    def _ask_briefly(self, item: Example) -> _Asked:
        """With the truth as the only candidate: what is said does not depend on the candidates, only its cost does."""
        truth = {target(item): self.encoder.row(item)}
        return _Asked(item, self.encoder.prompt(prompt(item), item.images), {}, truth)

    def _answer(
        self, asked: Sequence[_Asked], column: str, progress: Progress
    ) -> tuple[dict[RowKey, TokenScores], list[str]]:
        """Weigh every candidate, and what the model says to each item: mostly one of them, else it is generated."""
        rows = {row_key(row): row for each in asked for row in (*each.letters.values(), *each.words.values())}
        total = len(rows) + len(asked)
        weighed = self.scorer.score(rows.values(), column, progress.part(0, len(rows), total))
        said = [self._follow(each, each.drafts, weighed) for each in asked]
        for _ in range(_MORE_TOKENS):
            said = self._go_on(asked, said)
        left = [i for i, answer in enumerate(said) if not self._over(answer)]
        done = total - len(left)
        progress.update(column, done, total)
        prompts = [asked[i].asked for i in left]
        generated = generate(prompts, self.encoder, self.config, column, progress.part(done, total, total))
        told = dict(zip(left, generated, strict=True))
        return weighed, [self._text(told.get(i, answer)) for i, answer in enumerate(said)]

    def _follow(self, asked: _Asked, rows: Sequence[Row], weighed: Mapping[RowKey, TokenScores]) -> tuple[int, ...]:
        known = [(row, weighed[row_key(row)]) for row in rows]
        return greedy_from_drafts(asked.asked, known, self.encoder.ends, self.config.max_new_tokens)

    def _go_on(self, asked: Sequence[_Asked], said: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """One token more of each answer to a short prompt that has left the candidates and has not ended."""
        short = [i for i, each in enumerate(asked) if each.asked.answer_start <= _SHORT_PROMPT]
        rows = {i: self._going_on(asked[i], said[i]) for i in short if not self._over(said[i])}
        weighed = self.scorer.score(rows.values()) if rows else {}
        return [self._follow(asked[i], [rows[i]], weighed) if i in rows else answer for i, answer in enumerate(said)]

    def _going_on(self, asked: _Asked, answer: tuple[int, ...]) -> Row:
        """The prompt, what has been said to it, and a place to say more (its token counts for nothing)."""
        return self.encoder.extend(asked.asked, (*answer, asked.asked.input_ids[-1]))

    def _over(self, answer: tuple[int, ...]) -> bool:
        return len(answer) >= self.config.max_new_tokens or (bool(answer) and answer[-1] in self.encoder.ends)

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.encoder.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()


def _weights(asked: _Asked, weighed: Mapping[RowKey, TokenScores]) -> dict[str, Any]:
    """Log-probabilities of an item's candidates, for its line."""
    line: dict[str, Any] = {}
    words = {text: weighed[row_key(row)].logps for text, row in asked.words.items()}
    item = asked.item
    if asked.letters:  # of the letter alone, without the end token
        line["option_logps"] = [_rounded(weighed[row_key(row)].logps[:-1]) for row in asked.letters.values()]
    for name, text in (("answer", item.answer), ("paraphrase", item.paraphrase)):
        if text:
            line |= {f"{name}_logp": _rounded(words[text]), f"{name}_tokens": len(words[text])}
    wrong = [text for text in words if text not in (item.answer, item.paraphrase)]
    if wrong:
        line["perturbed"] = wrong
        line["perturbed_logps"] = [_rounded(words[text]) for text in wrong]
        line["perturbed_tokens"] = [len(words[text]) for text in wrong]
    return line


def _rounded(logps: Sequence[float]) -> float:
    """Sum, to what float32 can tell."""
    return round(sum(logps), 6)
