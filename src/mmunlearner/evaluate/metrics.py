"""Metrics of one answer: their rules, and `METRICS`, the one table of them.

No model is needed: a metric is a pure function of one line of saved answers (the fields are listed in `scores`).

A truth ratio is written r = (likelihood of the wrong answers) / (likelihood of the true answer), both per token: 0 for
a model that is sure of the truth, 1 for a model that finds the wrong answers equally likely.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import exp
from string import ascii_uppercase
from typing import Any, NamedTuple

Line = Mapping[str, Any]
"""One evaluated item: a line of `COLUMN.jsonl`."""
LogLikelihood = tuple[float, int]
"""log p(answer | question), summed over the answer's tokens, and their number."""

# r is only ever clipped, inverted or ranked, so that capping its logarithm keeps every score and avoids overflow.
_LARGEST_LOG = 700.0


# --- correct or not -------------------------------------------------------------------------------------------------


def chosen_letter(output: str) -> str:
    """Return the option that an output picks: the letter that stands alone at its beginning ("B", "(b)", "B: Paris").

    Empty if there is none. A word is not a choice: "Artist" does not pick A. The published rule, which takes the first
    character, would count it.
    """
    # Any marks, then one letter, then nothing that makes it a word.
    match = re.match(r"[\W_]*([^\W\d_])(?!\w)", output)
    return match.group(1).upper() if match else ""


def is_correct(task: str, output: str, target: str, answer: str) -> bool:
    """Decide by the rule of the task (MLLMU-Bench, zero-shot).

    Multiple choice: the output begins with the right letter (`target`). Cloze: the true answer is part of the output.
    Generation: the words of the true answer stand in the output side by side.
    """
    if task == "multiple_choice":
        return chosen_letter(output) == target.upper()
    if task == "cloze":
        return answer.strip().casefold() in output.casefold()
    # Spaces around both, so that "art" is not found in "party".
    return f" {normalise(answer)} " in f" {normalise(output)} "


def normalise(text: str) -> str:
    """Return the text in lower case, with letters and digits only and single spaces."""
    # NFKC, so that a full-width or ligature form equals the plain letters.
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", plain).split())


# --- similarity of texts --------------------------------------------------------------------------------------------


@cache  # one scorer for all answers
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # 2 s to import: only where texts are scored

    return RougeScorer(["rougeL"], use_stemmer=True)


def rouge_l(output: str, reference: str) -> float:
    """Return ROUGE-L F1 with stemming (MLLMU-Bench), 0 to 1."""
    return float(_rouge_scorer().score(reference, output)["rougeL"].fmeasure)


def rouge_l_recall(output: str, reference: str) -> float:
    """Return ROUGE-L recall with stemming (TOFU, CLEAR), 0 to 1."""
    return float(_rouge_scorer().score(reference, output)["rougeL"].recall)


def bleu(output: str, reference: str) -> float:
    """Return sentence BLEU with sacrebleu's smoothing and effective order, 0 to 1."""
    from sacrebleu import sentence_bleu

    return min(1.0, sentence_bleu(output, [reference]).score / 100)  # rounding makes it exceed 100 at times


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


def accuracy(line: Line) -> float:
    """Return 1 for a correct answer, 0 for a wrong one."""
    return float(is_correct(line["task"], line["output"], line["target"], line["answer"]))


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


def _similarity(measure: Callable[[str, str], float]) -> Callable[[Line], float | None]:
    return lambda line: measure(line["output"], line["answer"]) if line["task"] == "generation" else None


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
        # Multiple choice is scored by the written letter, as published. A model that knows the answer may write another
        # text than a letter, so the likeliest letter is scored too, and how often the two agree.
        Metric(
            "multiple_choice",
            "Multiple choice accuracy",
            "the answer begins with the letter of the right option",
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
            "the letter that is written is the likeliest one",
            _likeliest_letter_is(lambda line: chosen_letter(line["output"])),
        ),
        Metric(
            "cloze",
            "Cloze accuracy",
            "the true answer is part of the answer, in upper or lower case",
            _accuracy_of("cloze"),
            on_terminal=True,
        ),
        Metric(
            "generation",
            "Generation accuracy",
            "the true answer is part of the answer, both normalised",
            _accuracy_of("generation"),
            on_terminal=True,
        ),
        Metric("rouge_l", "ROUGE-L F1", "ROUGE-L F1 of the answer, stemmed", _similarity(rouge_l), on_terminal=True),
        Metric(
            "rouge_l_recall",
            "ROUGE-L recall",
            "ROUGE-L recall of the answer, stemmed (CLEAR)",
            _similarity(rouge_l_recall),
        ),
        Metric("bleu", "BLEU", "BLEU of the answer", _similarity(bleu)),
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
