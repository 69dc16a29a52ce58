"""A model answers a benchmark: items -> `COLUMN.jsonl`, one line each -> `scores.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmunlearner.batches import Encoder, Row
from mmunlearner.config import EvaluateConfig
from mmunlearner.data import Example, prompt
from mmunlearner.errors import DataError
from mmunlearner.evaluate import questions
from mmunlearner.evaluate.generate import generate
from mmunlearner.evaluate.metrics import Score, mean_score
from mmunlearner.evaluate.score import ModelScores, read_lines, rescore, right
from mmunlearner.evaluate.weigh import RowKey, Scale, Weighed, key_of, spoken
from mmunlearner.files import read_json, write_json, write_jsonl
from mmunlearner.models import Loaded

Progress = Callable[[str, int, int], None]
"""(column, done, of): how much of a column's work is done."""

# Candidates make about so many tokens per question once their common beginnings are shared.
_TOKENS_PER_QUESTION = 64


def evaluate_model(
    loaded: Loaded,
    evaluation: Mapping[str, Sequence[Example]],
    out_dir: Path | str,
    *,
    config: EvaluateConfig | None = None,
    progress: Progress | None = None,
    encoder: Encoder | None = None,
) -> ModelScores:
    """Ask a model every item of every column; write `out_dir/COLUMN.jsonl`, then `out_dir/scores.json`.

    Columns that are there already, of the same weights, settings and items, are kept. `encoder` saves work where
    several models with equal processors are evaluated.

    Raises:
        DataError: `out_dir` holds another model's answers, or answers to other questions.
        ModelError: the model's log-probabilities are not finite.
    """
    config, out_dir = config or EvaluateConfig(), Path(out_dir)
    _claim(loaded, config, out_dir)
    with _answering(loaded, config, encoder) as answering:
        for column, examples in evaluation.items():
            items = questions.spread(examples, config.limit)
            path = out_dir / f"{column}.jsonl"
            if items and not _complete(path, items, column):
                write_jsonl(path, answering.lines(items, column, progress or _quiet))
    return rescore(out_dir)


def quick_scores(
    loaded: Loaded,
    columns: Mapping[str, Sequence[Example]],
    *,
    config: EvaluateConfig | None = None,
    encoder: Encoder | None = None,
) -> dict[str, Score]:
    """Accuracy of each column alone, in memory: by the rules of `evaluate_model`, at a fraction of its cost."""
    config = config or EvaluateConfig()
    chosen = {column: questions.spread(items, config.limit) for column, items in columns.items() if items}
    with _answering(loaded, config, encoder) as answering:
        return {column: answering.accuracy(items, column) for column, items in chosen.items()}


def _quiet(column: str, done: int, of: int) -> None:
    """Tell nobody."""


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
    wanted = [questions.describe(item, column) for item in items]
    lines = read_lines(path)
    if len(lines) != len(wanted) or any(
        w != {k: line.get(k) for k in w} for w, line in zip(wanted, lines, strict=True)
    ):
        raise DataError(f"{path}: holds answers to other questions; remove it or name another folder")
    return True


def fingerprint(loaded: Loaded) -> str:
    """Name of the weights: equal for bit-identical weights, whatever the device."""
    digest = hashlib.sha256()
    for name, weight in sorted(loaded.model.named_parameters()):
        bits = weight.detach().flatten().view(torch.uint8).view(-1, weight.element_size())
        sums = bits.sum(0, dtype=torch.int64)  # integers: no rounding, so no order of summation
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} {sums.tolist()}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Asked:
    """One item in tokens."""

    prompt: Row
    """Only its prompt counts; its answer is any."""
    said: dict[str, Row]
    """Candidate answers to the item's own prompt: letters, or answers in words."""
    words: dict[str, Row]
    """Answers in words to the open question."""


@contextmanager
def _answering(loaded: Loaded, config: EvaluateConfig, encoder: Encoder | None) -> Iterator[_Answering]:
    """The model in eval mode, and back in the mode that it was in."""
    training = loaded.model.training
    loaded.model.eval()
    try:
        yield _Answering(Encoder(loaded) if encoder is None else encoder.of(loaded), config)
    finally:
        loaded.model.train(training)


@dataclass
class _Answering:
    """One model under examination."""

    encoder: Encoder
    config: EvaluateConfig
    scale: Scale = field(init=False)

    def __post_init__(self) -> None:
        self.scale = Scale(self.encoder, self.config.batch_size * _TOKENS_PER_QUESTION)

    def lines(self, items: Sequence[Example], column: str, progress: Progress) -> list[dict[str, Any]]:
        """The lines of one column, in the order of its items."""
        asked = [self._ask(item, words=True) for item in items]
        weighed, outputs = self._answer(asked, lambda done, of: progress(column, done, of))
        return [
            questions.describe(item, column) | {"output": output} | _weights(item, each, weighed)
            for item, each, output in zip(items, asked, outputs, strict=True)
        ]

    def accuracy(self, items: Sequence[Example], column: str) -> Score:
        """Share of right answers, without the log-probabilities that it does not need."""
        _, outputs = self._answer([self._ask(item, words=False) for item in items], lambda done, of: None)
        lines = [questions.describe(i, column) | {"output": o} for i, o in zip(items, outputs, strict=True)]
        return mean_score([right(line) for line in lines], [item.entity for item in items])

    def _ask(self, item: Example, *, words: bool) -> _Asked:
        question, image = prompt(item), item.image
        options, in_words = questions.letters(item), questions.answers_in_words(item)
        said = {text: self.encoder.conversation(question, text, image) for text in options or in_words}
        asked = self.encoder.prompt_ids(question, image)
        other = said
        if options:
            opened = questions.open_prompt(item)
            other = {text: self.encoder.conversation(opened, text, image) for text in in_words} if words else {}
        return _Asked(Row((*asked, self.encoder.pad_id), len(asked), image), said, other)

    def _answer(
        self, asked: Sequence[_Asked], tell: Callable[[int, int], None]
    ) -> tuple[dict[RowKey, Weighed], list[str]]:
        """Weigh every candidate, and what the model says to each item: mostly one of them, else it is generated."""
        rows = {key_of(row): row for each in asked for row in (*each.said.values(), *each.words.values())}
        total = len(rows) + len(asked)
        weighed = self.scale.weigh(rows.values(), lambda done: tell(done, total))
        said = [self._spoken(each, weighed) for each in asked]
        left = [i for i, tokens in enumerate(said) if tokens is None]
        done = total - len(left)
        tell(done, total)
        more = generate([asked[i].prompt for i in left], self.encoder, self.config, lambda n: tell(done + n, total))
        told = dict(zip(left, more, strict=True))
        return weighed, [self._text(told.get(i, tokens or ())) for i, tokens in enumerate(said)]

    def _spoken(self, asked: _Asked, weighed: Mapping[RowKey, Weighed]) -> tuple[int, ...] | None:
        rows = [(row, weighed[key_of(row)]) for row in asked.said.values()]
        return spoken(asked.prompt.answer_start, rows, self.encoder.ends, self.config.max_new_tokens)

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.encoder.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()


def _weights(item: Example, asked: _Asked, weighed: Mapping[RowKey, Weighed]) -> dict[str, Any]:
    """Log-probabilities of an item's candidates, for its line."""
    line: dict[str, Any] = {}
    options = questions.letters(item)
    if options:  # of the letter alone, without the end token
        letters = [weighed[key_of(asked.said[letter])].logps[:-1] for letter in options]
        line["option_logps"] = [_rounded(logps) for logps in letters]
    for name, text in (("answer", item.answer), ("paraphrase", item.paraphrase)):
        if text:
            logps = weighed[key_of(asked.words[text])].logps
            line |= {f"{name}_logp": _rounded(logps), f"{name}_tokens": len(logps)}
    wrong = [weighed[key_of(asked.words[text])].logps for text in questions.wrong_answers(item)]
    if wrong:
        line |= {"perturbed_logps": [_rounded(w) for w in wrong], "perturbed_tokens": [len(w) for w in wrong]}
    return line


def _rounded(logps: Sequence[float]) -> float:
    """Sum, to what float32 can tell."""
    return round(sum(logps), 6)
