"""The verdict on a run: its headline, and four questions that a reader asks first, each with a short answer.

All of it follows from the criteria and comparisons of the main model, so that no sentence claims more than they do:
"the rest kept" stands only where every column to keep is within its bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmunlearner.data.load import FORMATS
from mmunlearner.report.comparisons import Contrast, against_baselines, against_random_masks
from mmunlearner.report.criteria import LAST_DIGIT, Comparison, Criterion, criteria, difference, to_forget
from mmunlearner.report.findings import GATE_FAILED, Verdict
from mmunlearner.report.results import Model, Results
from mmunlearner.report.template import enumerated, percent, plural, signed

PEOPLE = frozenset(name for name, format_ in FORMATS.items() if format_.people)
"""Benchmarks whose entities are people."""
Forgotten = Literal["yes", "too far", "unclear", "no", "not measured"]
Kept = Literal["yes", "unclear", "no", "not measured"]
VERDICTS: dict[Forgotten | Kept, Verdict] = {
    "yes": "met", "no": "missed", "too far": "missed", "unclear": "unclear", "not measured": "note"
}  # fmt: skip


@dataclass(frozen=True)
class Headline:
    """The run in a few words and one or two sentences."""

    title: str
    text: str
    good: bool


@dataclass(frozen=True)
class Answer:
    """The answer to one of the questions that a reader asks first."""

    question: str
    word: str
    """`Yes`, `No`, `Cannot be told`..."""
    text: str
    verdict: Verdict = "note"


def forgotten(checked: Sequence[Criterion]) -> Forgotten:
    """Return whether all columns to forget ended near enough to the oracle.

    `too far`: some did not, and all of these ended below the oracle.
    """
    columns = [c for c in checked if c.reference == "oracle"]
    missed = [c for c in columns if c.outcome == "missed"]
    if not columns:
        return "not measured"
    if missed:
        # Below the oracle is no ignorance: it gives away who was forgotten.
        return "too far" if all(c.gap.value < 0 for c in missed) else "no"
    return "yes" if all(c.outcome == "met" for c in columns) else "unclear"


def kept(checked: Sequence[Criterion]) -> Kept:
    """Return whether no column to keep lost more than it may."""
    outcomes = {c.outcome for c in checked if c.reference == "vanilla"}
    if not outcomes:
        return "not measured"
    return "no" if "missed" in outcomes else "unclear" if "unclear" in outcomes else "yes"


# --- headline -------------------------------------------------------------------------------------------------------


def headline(results: Results) -> Headline:
    """Summarise what was to be forgotten, and what was lost with it."""
    gate, main = results.gate, results.main
    if gate and not gate.passed:
        return Headline("Nothing can be claimed", gate.text or GATE_FAILED, False)
    if main is None:
        return Headline("Before unlearning", f"{_aim(results)} No model of this run has unlearned yet.", False)
    checked = criteria(results, main)
    text = " ".join(filter(None, (_aim(results), _scored(results, main), _count_met(main, checked))))
    return Headline(_title(checked), text, (forgotten(checked), kept(checked)) == ("yes", "yes"))


def _title(checked: Sequence[Criterion]) -> str:
    outcome = forgotten(checked), kept(checked)
    if outcome[0] == "not measured":  # the aim of forgetting is unknown, whatever was kept
        return "Nothing to compare forgetting with"
    first = {
        "yes": "Forgotten",
        "too far": "Forgotten further than the oracle",
        "unclear": "Whether forgotten cannot be told",
        "no": "Not forgotten",
    }[outcome[0]]
    if outcome[1] == "no":
        second = f"lost: {_largest_losses(checked)}"
    else:
        second = {
            "yes": "the rest kept",
            "unclear": "how much else was lost cannot be told",
            "not measured": "what else was lost was not measured",
        }[outcome[1]]
    joint = {("yes", "yes"): ", and ", ("yes", "no"): ", but ", ("no", "no"): ", and "}
    return first + joint.get(outcome, "; ") + second


def _largest_losses(checked: Sequence[Criterion]) -> str:
    """`Neighbour VQA 23.6 and General 7.3 points`; of more than three columns the two largest and their number."""
    missed = sorted((c for c in checked if c.reference == "vanilla" and c.outcome == "missed"), key=lambda c: -c.loss)
    named = missed if len(missed) <= 3 else missed[:2]
    names = [f"{c.column.title} {percent(c.loss)}" for c in named]
    names[-1] += " points"
    return enumerated([*names, f"{len(missed) - 2} more columns"] if len(missed) > 3 else names)


def _aim(results: Results) -> str:
    number = results.forget_entities
    one, many = ("person", "people") if results.benchmark in PEOPLE else ("entity", "entities")
    who = f"{number} {one} was" if number == 1 else f"{number or 'The chosen'} {many} were"
    if results.goal == "full":
        return f"{who} to be forgotten altogether, by sight and in words."
    return f"{who} to be forgotten by sight, while everything known of them in words was to stay."


def _scored(results: Results, main: Model) -> str:
    """Say how many of the entities to forget the scores are of, where it is not all of them."""
    number, scored = results.forget_entities, scored_entities(results, main)
    if not scored or scored >= number:
        return ""
    # The items of the validation half are in no score.
    others = f"; the other {number - scored} chose the settings" if results.judged else ""
    return f"The scores are of {scored} of them{others}."


def scored_entities(results: Results, main: Model) -> int:
    """Return the number of entities to forget that the main model's scores are of; 0: unknown."""
    counts = [
        difference(main, reference, column).entities or 0
        for reference in (results.vanilla, results.oracle)
        for column in to_forget(results)
        if reference and reference.score(column.name) and main.score(column.name)
    ]
    return max(counts, default=0)


def _count_met(main: Model, checked: Sequence[Criterion]) -> str:
    """`MMUnlearner meets 8 of 11 bounds (2 of them within noise) and misses 2; for 1 ...`"""
    if not checked:
        return ""
    met, missed, unclear = ([c for c in checked if c.outcome == outcome] for outcome in ("met", "missed", "unclear"))
    number = f"all {len(checked)}" if len(met) == len(checked) > 1 else f"{len(met)} of {len(checked)}"
    misses = f" and misses {len(missed)}" if missed else ""
    noise = f"; for {len(unclear)} the noise is too large to tell" if unclear else ""
    return f"{main.title} meets {number} bounds{_narrowly(met)}{misses}{noise}."


def _narrowly(met: Sequence[Criterion]) -> str:
    """` (3 of them within noise)`, if any."""
    number = sum(c.within_noise for c in met)
    return f" ({'all' if number == len(met) > 1 else number} of them within noise)" if number else ""


def _with_points(checked: Sequence[Criterion]) -> str:
    return enumerated([f"{c.column.title} ({signed(c.gap)} points)" for c in checked])


# --- four questions -------------------------------------------------------------------------------------------------


def answers(results: Results) -> tuple[Answer, ...]:
    """Answer the first questions of a reader; none where nothing can be claimed or nothing has unlearned."""
    main = results.main
    if main is None or (results.gate and not results.gate.passed):
        return ()
    checked = criteria(results, main)
    return (
        _whether_forgotten(results, main, checked),
        _whether_kept(results, checked),
        _against_baselines(against_baselines(results, main)),
        _against_random_mask(against_random_masks(results, main)),
    )


def _whether_forgotten(results: Results, main: Model, checked: Sequence[Criterion]) -> Answer:
    columns = {c.column.name: c for c in checked if c.reference == "oracle"}
    moves = []
    for column in to_forget(results):
        before, after, aim = (m.score(column.name) if m else None for m in (results.vanilla, main, results.oracle))
        if after:
            start = f"from {percent(before.value)} " if before else ""
            level = [f"oracle {percent(aim.value)} %"] if aim else []
            if criterion := columns.get(column.name):
                level.append(f"off by {signed(criterion.gap)} points, {100 * criterion.bound:.3g} allowed")
            brackets = f" ({'; '.join(level)})" if level else ""
            moves.append(f"{column.title} {start}to {percent(after.value)} %{brackets}")
    text = f"{enumerated(moves)}." if moves else ""
    outcome = forgotten(checked)
    if outcome == "not measured":
        why = "The run has no oracle" if results.oracle is None else "The oracle knows it (nearly) as well as vanilla"
        return Answer(
            "Forgotten?", "Not measured", f"{text} {why}, so that nothing says how far it should fall.".strip()
        )
    if outcome in ("no", "unclear") and main.mask_warning:
        text += f" Its mask leaves the forget term hardly anything: {main.mask_warning}."
    return Answer("Forgotten?", _word(outcome, list(columns.values())), text, VERDICTS[outcome])


def _word(outcome: Forgotten | Kept, checked: Sequence[Criterion]) -> str:
    words = {"no": "No", "too far": "Too far", "unclear": "Cannot be told", "not measured": "Not measured"}
    return words.get(outcome) or ("Yes, within noise" if any(c.within_noise for c in checked) else "Yes")


def _whether_kept(results: Results, checked: Sequence[Criterion]) -> Answer:
    columns = [c for c in checked if c.reference == "vanilla"]
    met, unclear, missed = ([c for c in columns if c.outcome == o] for o in ("met", "unclear", "missed"))
    if not columns:
        why = "The run has no vanilla model" if results.vanilla is None else "No column is to be kept"
        return Answer("The rest kept?", "Not measured", f"{why}.")
    sentences = []
    if missed:
        sentences.append(f"{_with_points(missed)} lost more than allowed.")
    if unclear:
        did = "did" if missed else "lost more than allowed"
        sentences.append(f"Whether {_with_points(unclear)} {did} cannot be told from noise.")
    if met:
        bounds = sorted({c.bound for c in met})
        allowed = met[0].allowed if len(bounds) == 1 else f"{100 * bounds[0]:.3g} to {100 * bounds[-1]:.3g} points"
        which = f"The other {plural(len(met), 'column')}" if missed or unclear else f"All {plural(len(met), 'column')}"
        worst = max(met, key=lambda c: c.loss)
        most = f"; the largest loss: {_with_points([worst])}" if worst.loss >= LAST_DIGIT else ""
        sentences.append(f"{which} lost no more than allowed, {allowed}{_narrowly(met)}{most}.")
    outcome = kept(checked)
    return Answer("The rest kept?", _word(outcome, met), " ".join(sentences), VERDICTS[outcome])


def _against_baselines(contrasts: Sequence[Contrast]) -> Answer:
    if not contrasts:
        return Answer("Better than the baselines?", "Not measured", "The run has no baseline.")
    word, verdict = _rating(contrasts)
    better = [f"{c.reference.title} in {_titles(c.better)}" for c in contrasts if c.better]
    worse = [f"{c.reference.title} in {_titles(c.worse)}" for c in contrasts if c.worse]
    sentences = [f"Better than {', than '.join(better)}."] if better else []
    sentences += [f"Worse than {', than '.join(worse)}."] if worse else []
    level = [c for c in contrasts if not c.better and not c.worse]
    for few in dict.fromkeys(c.too_few for c in level):
        names = [c.reference.title for c in level if c.too_few == few]
        sentences.append(f"Against {enumerated(names)} nothing measurable{few}.")
    return Answer("Better than the baselines?", word, " ".join(sentences), verdict)


def _against_random_mask(contrasts: Sequence[Contrast]) -> Answer:
    question = "Better than a random mask?"
    if not contrasts:
        return Answer(question, "Not measured", "The run has no control with a random mask.")
    word, verdict = _rating(contrasts[:1])
    contrast = contrasts[0]
    if contrast.columns and not contrast.better and not contrast.worse:
        text = (
            f"In none of {plural(len(contrast.columns), 'column')} do {contrast.model.title} and "
            f"{contrast.reference.title} differ beyond noise{contrast.too_few}."
        )
    else:
        text = f"{contrast.model.title} against {contrast.reference.title}: {contrast.text}"
    return Answer(question, word, text, verdict)


def _rating(contrasts: Sequence[Contrast]) -> tuple[str, Verdict]:
    if all(c.better and not c.worse for c in contrasts):
        return "Yes", "met"
    if any(c.better for c in contrasts):
        return "In part", "note"
    return ("No, worse", "missed") if any(c.worse for c in contrasts) else ("Not measurably", "note")


def _titles(comparisons: Sequence[Comparison]) -> str:
    return enumerated([c.column.title for c in comparisons])
