"""Saved answers -> scores, from the files alone: `evaluation/NAME/COLUMN.jsonl` -> `evaluation/NAME/scores.json`.

A line is one item: id, entity, column, task, modality, attribute, image, prompt, target, answer, output; choices and
option_logps (log-probability of each option's letter) for multiple choice; answer_logp and answer_tokens; where there
are any, paraphrase_logp and paraphrase_tokens, perturbed_logps and perturbed_tokens. Log-probabilities are sums over
the answer's tokens, its end token included. Judgements, where there are some, stand in `judge/COLUMN.jsonl`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from mmunlearner.core.files import read_json, read_jsonl, write_json
from mmunlearner.errors import DataError
from mmunlearner.evaluate import metrics
from mmunlearner.evaluate.metrics import Score, mean_score

Line = Mapping[str, Any]
Columns = Mapping[str, Mapping[str, Score]]

JUDGE = "judge"
"""Folder of the judgements within an evaluation folder."""
_REQUIRED = ("id", "entity", "column", "task", "target", "answer", "output")


@dataclass(frozen=True)
class ModelScores:
    """One model's scores: column -> metric -> score."""

    columns: Columns

    def to_json(self) -> dict[str, Any]:
        return {
            "columns": {
                column: {metric: score._asdict() for metric, score in scores.items()}
                for column, scores in self.columns.items()
            }
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelScores:
        return cls({c: {m: Score(**score) for m, score in scores.items()} for c, scores in value["columns"].items()})


def right(line: Line) -> float:
    """1 for a right answer, 0 for a wrong one."""
    return float(metrics.is_right(line["task"], line["output"], line["target"], line["answer"]))


def _right_of(task: str) -> Callable[[Line], float | None]:
    return lambda line: right(line) if line["task"] == task else None


def _of_text(measure: Callable[[str, str], float]) -> Callable[[Line], float | None]:
    return lambda line: measure(line["output"], line["answer"]) if line["task"] == "generation" else None


def _probability(line: Line) -> float | None:
    return metrics.answer_probability(line["answer_logp"], line["answer_tokens"]) if "answer_logp" in line else None


def _choice_probability(line: Line) -> float | None:
    if not line.get("perturbed_logps"):
        return None
    wrong = list(zip(line["perturbed_logps"], line["perturbed_tokens"], strict=True))
    return metrics.choice_probability((line["answer_logp"], line["answer_tokens"]), wrong)


def _likeliest(line: Line) -> str:
    """The letter of the option with the highest log-probability."""
    logps = line["option_logps"]
    return ascii_uppercase[max(range(len(logps)), key=logps.__getitem__)]


def _by_likelihood(line: Line) -> float | None:
    return float(_likeliest(line) == line["target"]) if line.get("option_logps") else None


def _agreement(line: Line) -> float | None:
    return float(_likeliest(line) == metrics.chosen_letter(line["output"])) if line.get("option_logps") else None


def log_ratio(line: Line) -> float | None:
    """log of the truth ratio; None where the item has no perturbed answers."""
    if not line.get("perturbed_logps"):
        return None
    key = "paraphrase" if "paraphrase_logp" in line else "answer"
    truth = (line[f"{key}_logp"], line[f"{key}_tokens"])
    return metrics.log_truth_ratio(truth, list(zip(line["perturbed_logps"], line["perturbed_tokens"], strict=True)))


def _truth_ratio(line: Line) -> float | None:
    ratio = log_ratio(line)
    if ratio is None:
        return None
    forget = str(line["column"]).startswith("forget")
    return metrics.forget_truth_ratio(ratio) if forget else metrics.utility_truth_ratio(ratio)


METRICS: dict[str, Callable[[Line], float | None]] = {
    "accuracy": right,
    "multiple_choice": _right_of("multiple_choice"),
    "multiple_choice_likelihood": _by_likelihood,
    "multiple_choice_agreement": _agreement,
    "cloze": _right_of("cloze"),
    "generation": _right_of("generation"),
    "rouge_l": _of_text(metrics.rouge_l),
    "rouge_l_recall": _of_text(metrics.rouge_l_recall),
    "bleu": _of_text(metrics.bleu),
    "probability": _probability,
    "choice_probability": _choice_probability,
    "truth_ratio": _truth_ratio,
    "factuality": lambda line: line.get("factuality"),
}
"""Metric -> value of one line, None where it does not apply.

Multiple choice is scored by what the model says, as published; by its likeliest letter it is scored beside that, with
the share of items on which the two pick the same letter.
"""


def score_lines(lines: Sequence[Line]) -> dict[str, Score]:
    """All metrics of one column; those that apply to none of its items are absent."""
    scores = {}
    for name, measure in METRICS.items():
        values = [(value, line["entity"]) for line in lines if (value := measure(line)) is not None]
        if values:
            scores[name] = mean_score([value for value, _ in values], [entity for _, entity in values])
    return scores


def read_lines(path: Path | str) -> list[Line]:
    """One column's items.

    Raises:
        DataError: the file is missing or broken, or a line lacks a field (file, line and field are named).
    """
    lines = read_jsonl(path)
    for number, line in enumerate(lines, 1):
        missing = [name for name in _REQUIRED if not isinstance(line, dict) or name not in line]
        if missing:
            raise DataError(f"{path}, line {number}: not an evaluated item (no {', '.join(missing)})")
    return lines


def read_columns(out_dir: Path | str) -> dict[str, list[Line]]:
    """Column -> items of a model's evaluation folder, in the order of their names.

    Raises:
        DataError: there is none.
    """
    columns = {path.stem: _judged(path, read_lines(path)) for path in sorted(Path(out_dir).glob("*.jsonl"))}
    if not columns:
        raise DataError(f"{out_dir}: no evaluated items there; run `mmunlearner evaluate` first")
    return columns


def _judged(path: Path, lines: list[Line]) -> list[Line]:
    """The lines with their factuality, a tenth of the latest judgement's score, where they have been judged."""
    beside = path.parent / JUDGE / path.name
    if not beside.exists():
        return lines
    scores = {each["id"]: each["score"] / 10 for each in read_jsonl(beside) if each["score"] is not None}
    return [{**line, "factuality": scores[line["id"]]} if line["id"] in scores else line for line in lines]


def rescore(out_dir: Path | str) -> ModelScores:
    """Score the answers saved in `out_dir` and write them to its `scores.json`.

    Raises:
        DataError: no answers there, or broken ones.
    """
    scores = ModelScores({column: score_lines(lines) for column, lines in read_columns(out_dir).items() if lines})
    write_json(Path(out_dir) / "scores.json", scores.to_json())
    return scores


def read_scores(out_dir: Path | str) -> ModelScores:
    """The scores written there.

    Raises:
        DataError: there are none.
    """
    return ModelScores.from_json(read_json(Path(out_dir) / "scores.json"))
