"""Metrics of one answer, and `METRICS`, the one table of them. What counts as right is decided in `rules`.

No model is needed: a metric is a pure function of one line of saved answers (the fields are listed in `scores`).

A truth ratio is written r = (likelihood of the wrong answers) / (likelihood of the true answer), both per token: 0 for
a model that is sure of the truth, 1 for a model that finds the wrong answers equally likely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

from mmunlearner.evaluate.rules import RULES, Rules

Line = Mapping[str, Any]
"""One evaluated item: a line of `COLUMN.jsonl`."""
LogLikelihood = tuple[float, int]
"""log p(answer | question), summed over the answer's tokens, and their number."""

# r is only ever clipped, inverted or ranked, so that capping its logarithm keeps every score and avoids overflow.
_LARGEST_LOG = 700.0


# --- likelihoods ----------------------------------------------------------------------------------------------------


def answer_probability(logp: float, tokens: int) -> float:
    """Return p(answer | question)^(1 / tokens): the geometric mean over the answer's tokens."""
    return exp(logp / tokens)


def choice_probability(truth: LogLikelihood, wrong: Sequence[LogLikelihood]) -> float:
    """Return p(y) / (p(y) + sum of p over the wrong answers), each to the power of 1 / tokens (TOFU, CLEAR)."""
    # Relative to the truth: the probabilities themselves may be too small for a float.
    true_logp = truth[0] / truth[1]
    log_odds = (min(_LARGEST_LOG, logp / tokens - true_logp) for logp, tokens in wrong)
    return 1 / (1 + sum(exp(value) for value in log_odds))


def log_truth_ratio(truth: LogLikelihood, perturbed: Sequence[LogLikelihood]) -> float:
    """Return log r: mean over the perturbed answers of (log p / tokens), minus log p / tokens of the truth.

    The truth is its paraphrase, where the benchmark has one.
    """
    # TOFU's code averages logarithms, its paper probabilities. The published p-values come from the code.
    wrong = sum(logp / tokens for logp, tokens in perturbed) / len(perturbed)
    ratio = wrong - truth[0] / truth[1]
    return max(-_LARGEST_LOG, min(_LARGEST_LOG, ratio))


def forget_truth_ratio(log_ratio: float) -> float:
    """Return min(r, 1/r): 1 where truth and wrong answers are equally likely."""
    return exp(-abs(log_ratio))


def utility_truth_ratio(log_ratio: float) -> float:
    """Return max(0, 1 - r): 1 where the model is sure of the truth."""
    return max(0.0, 1 - exp(log_ratio))


def harmonic_mean(values: Sequence[float]) -> float:
    """Return the harmonic mean, 0 as soon as one value is 0.

    Raises:
        ValueError: no value, or a negative one.
    """
    if not values or min(values) < 0:
        raise ValueError(f"harmonic mean of {list(values)}: needs values, none of them negative")
    return 0.0 if min(values) == 0 else len(values) / sum(1 / value for value in values)


# --- from a line of saved answers -----------------------------------------------------------------------------------


def is_correct(line: Line) -> bool:
    """Decide by the rule of the task: the right option is picked, or the true answer is given."""
    if line["task"] == "multiple_choice":
        return chosen_letter(line) == line["target"].upper()
    return _rules(line).says(line["output"], line["answer"], line.get("longer", ()))


def chosen_letter(line: Line) -> str:
    """Return the letter of the option that a multiple choice's answer picks; empty if it picks none, or several."""
    return _rules(line).option(line["output"], line.get("choices", ()))


def accuracy(line: Line) -> float:
    """Return 1 for a correct answer, 0 for a wrong one."""
    return float(is_correct(line))


def _rules(line: Line) -> Rules:
    return RULES[line.get("scoring", "package")]


def log_ratio(line: Line) -> float | None:
    """Return log r; None where the item has no perturbed answers."""
    if not line.get("perturbed_logps"):
        return None
    return log_truth_ratio(_truth(line, "paraphrase" if "paraphrase_logp" in line else "answer"), _perturbed(line))


# The functions below return a metric's value for a line, or None if the metric does not apply to its item.


def _truth(line: Line, kind: str) -> LogLikelihood:
    return line[f"{kind}_logp"], line[f"{kind}_tokens"]


def _perturbed(line: Line) -> list[LogLikelihood]:
    return list(zip(line["perturbed_logps"], line["perturbed_tokens"], strict=True))


def _accuracy_of(task: str) -> Callable[[Line], float | None]:
    return lambda line: accuracy(line) if line["task"] == task else None


def _similarity(measure: Literal["rouge_l", "rouge_l_recall", "bleu"]) -> Callable[[Line], float | None]:
    def value(line: Line) -> float | None:
        of_texts: Callable[[str, str], float] = getattr(_rules(line), measure)
        return of_texts(line["output"], line["answer"]) if line["task"] == "generation" else None

    return value


def _likeliest_letter_is(letter_of: Callable[[Line], str]) -> Callable[[Line], float | None]:
    """Return a metric: 1 if the option with the highest log-probability has the letter that `letter_of` returns."""

    def value(line: Line) -> float | None:
        logps = line.get("option_logps")
        if not logps:
            return None
        likeliest = ascii_uppercase[max(range(len(logps)), key=logps.__getitem__)]
        return float(likeliest == letter_of(line))

    return value


def _truth_ratio(line: Line) -> float | None:
    ratio = log_ratio(line)
    if ratio is None:
        return None
    # TOFU folds the ratio by the question that a column asks: is the truth forgotten, or is it still known?
    forget = str(line["column"]).startswith("forget")
    return forget_truth_ratio(ratio) if forget else utility_truth_ratio(ratio)


class Metric(NamedTuple):
    """A number that each answer gets; a column's score is its mean over the answers that it applies to."""

    name: str
    """Key in `scores.json` and `results.json`."""
    title: str
    """Head of its table in the report."""
    meaning: str
    """One line for `mmunlearner list`."""
    of_line: Callable[[Line], float | None]
    """Value of one answer, mostly 0 to 1; None where the metric does not apply."""
    on_terminal: bool = False
    """Printed by `mmunlearner evaluate`, where five metrics fit side by side."""


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy",
            "Accuracy",
            "correct or wrong, by the rule of each item's task; mean over all items of a column",
            accuracy,
            on_terminal=True,
        ),
        # Multiple choice is scored by what is written, as published. A model that knows the answer may write something
        # else, so the likeliest letter is scored too, and how often the two agree.
        Metric(
            "multiple_choice",
            "Multiple choice accuracy",
            "the answer picks the right option, by its letter or text",
            _accuracy_of("multiple_choice"),
            on_terminal=True,
        ),
        Metric(
            "multiple_choice_likelihood",
            "Multiple choice accuracy, by likelihood",
            "the likeliest letter is that of the right option",
            _likeliest_letter_is(lambda line: line["target"]),
        ),
        Metric(
            "multiple_choice_agreement",
            "Agreement of likelihood and written answer in multiple choice",
            "the option that is picked is the likeliest one",
            _likeliest_letter_is(chosen_letter),
        ),
        Metric(
            "cloze",
            "Cloze accuracy",
            "the words of the true answer stand in the answer side by side",
            _accuracy_of("cloze"),
            on_terminal=True,
        ),
        Metric(
            "generation",
            "Generation accuracy",
            "the words of the true answer stand in the answer side by side",
            _accuracy_of("generation"),
            on_terminal=True,
        ),
        Metric("rouge_l", "ROUGE-L F1", "ROUGE-L F1 of the answer, stemmed", _similarity("rouge_l"), on_terminal=True),
        Metric(
            "rouge_l_recall",
            "ROUGE-L recall",
            "ROUGE-L recall of the answer, stemmed (CLEAR)",
            _similarity("rouge_l_recall"),
        ),
        Metric("bleu", "BLEU", "BLEU of the answer", _similarity("bleu")),
        Metric(
            "probability",
            "Answer probability",
            "p(true answer), to the power of 1 / tokens",
            lambda line: answer_probability(*_truth(line, "answer")) if "answer_logp" in line else None,
        ),
        Metric(
            "choice_probability",
            "Answer probability among the wrong answers",
            "the same as a share of what the true and the wrong answers have together (TOFU, CLEAR)",
            lambda line: (
                choice_probability(_truth(line, "answer"), _perturbed(line)) if line.get("perturbed_logps") else None
            ),
        ),
        Metric(
            "truth_ratio",
            "Truth ratio",
            "probability of the wrong answers over that of the true one, folded per column as in TOFU",
            _truth_ratio,
        ),
        Metric(
            "factuality",
            "Factuality, by a judge",
            "a judge's score of the answer, 1 to 10, divided by 10 (MLLMU-Bench; --judge.endpoint)",
            lambda line: line.get("factuality"),
        ),
    )
}
"""The metrics in the order of the report. A new one is one more record here, and a test."""
