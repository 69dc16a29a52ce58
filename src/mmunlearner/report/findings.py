"""Findings of a run in plain words. Every sentence is computed from the results, the unwelcome ones too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mmunlearner.data.load import FORMATS
from mmunlearner.report.criteria import (
    FORGET_BOUND,
    Comparison,
    Criterion,
    compare,
    criteria,
    describe_test,
    losses,
    nothing_to_forget,
    shortfall,
    target,
    to_forget,
)
from mmunlearner.report.results import HEADLINE, Model, Results
from mmunlearner.report.template import count, enumerated, percent, plural, signed, stop_check

Verdict = Literal["met", "missed", "note"]
GATE_FAILED = "The vanilla model does not clearly know the forget set better than the oracle: nothing can be claimed."
PEOPLE = frozenset(name for name, format_ in FORMATS.items() if format_.people)
"""Benchmarks whose entities are people."""


@dataclass(frozen=True)
class Finding:
    verdict: Verdict
    """A requirement is met or missed; a note requires nothing."""
    text: str
    topic: str = ""


@dataclass(frozen=True)
class Headline:
    """The run in a few words and one or two sentences."""

    title: str
    text: str
    good: bool


def findings(results: Results) -> tuple[Finding, ...]:
    """Return all findings, the gate first: if it failed, nothing is claimed."""
    gate, main = results.gate, results.main
    if gate and not gate.passed:
        return (Finding("missed", gate.text or GATE_FAILED, "Memorisation gate"),)
    passed = [Finding("met", gate.text, "Memorisation gate")] if gate and gate.text else []
    notes = [Finding("note", text) for text in results.findings]
    if main is None:
        return (*passed, *notes)
    return (
        *passed,
        *_choice_of_variant(results, main),
        *(
            Finding(
                "met" if criterion.met else "missed",
                criterion.text,
                "To forget" if criterion.reference == "oracle" else "To keep",
            )
            for criterion in criteria(results, main)
        ),
        *_notes_on_columns(results, main),
        *_comparisons(results, main),
        *_forget_quality(main),
        *_mask_promise(main),
        *(
            Finding("note", f"{stop_check(model.look)}.", f"Training of {model.title}")
            for model in results.models
            if model.look
        ),
        *notes,
    )


# --- headline -------------------------------------------------------------------------------------------------------


def headline(results: Results) -> Headline:
    """Summarise what was to be forgotten and the outcome."""
    gate, main = results.gate, results.main
    if gate and not gate.passed:
        return Headline("Nothing can be claimed", gate.text or GATE_FAILED, False)
    if main is None:
        return Headline("Before unlearning", f"{_aim(results)} No model of this run has unlearned yet.", False)
    checked = criteria(results, main)
    title, good = _verdict(checked)
    moves = []  # `Forget VQA from 100.0 to 4.2 % (oracle 3.3 %)`
    for column in to_forget(results):
        before, after, aim = (m.score(column.name) if m else None for m in (results.vanilla, main, results.oracle))
        if after:
            start = f"from {percent(before.value)} " if before else ""
            level = f" (oracle {percent(aim.value)} %)" if aim else ""
            moves.append(f"{column.title} {start}to {percent(after.value)} %{level}")
    outcome = f"{main.title} brought {enumerated(moves)}." if moves else ""
    return Headline(title, f"{_aim(results)} {outcome} {_count_met(checked)}".strip(), good)


def _verdict(checked: Sequence[Criterion]) -> tuple[str, bool]:
    forget = [c.met for c in checked if c.reference == "oracle"]
    keep = [c.met for c in checked if c.reference == "vanilla"]
    # Without an oracle the aim of forgetting is unknown, whatever was kept.
    if not forget:
        return "Nothing to compare forgetting with", False
    if all(forget):
        return ("Forgotten, and the rest kept", True) if all(keep) else ("Forgotten, but at a price", False)
    return ("The rest kept, but not forgotten", False) if all(keep) else ("Neither forgotten nor all kept", False)


def _aim(results: Results) -> str:
    number = results.forget_entities
    noun = "people" if results.benchmark in PEOPLE else "entities"
    who = f"{number} {noun}" if number else f"The chosen {noun}"
    if results.goal == "full":
        return f"{who} were to be forgotten altogether, by sight and in words."
    return f"{who} were to be forgotten by sight, while everything known of them in words was to stay."


def _count_met(checked: Sequence[Criterion]) -> str:
    if not checked:
        return ""
    missed = [criterion.column.title for criterion in checked if not criterion.met]
    bounds = plural(len(checked), "bound")
    if missed:
        return f"{len(checked) - len(missed)} of {bounds} are met; missed: {enumerated(missed)}."
    # "All are met" would claim that something was forgotten.
    only_keeping = all(criterion.reference == "vanilla" for criterion in checked)
    return f"All {bounds} {'that can be checked ' if only_keeping else ''}are met."


# --- requirements ---------------------------------------------------------------------------------------------------


def _choice_of_variant(results: Results, main: Model) -> list[Finding]:
    """Name the variant that stands for the method, and the basis of its choice."""
    # The reader should know that the scores shown are not those that it was chosen by.
    rivals = [m.title for m in results.models if m.family and m.family == main.family and m is not main]
    trials = plural(len(main.trials), "trial")
    tuned = f"Its settings were the best of {trials} on the validation half." if main.trials else ""
    if main.chosen and rivals:
        text = f"{main.title} was chosen on the validation half, over {enumerated(rivals)}. {tuned}".strip()
        return [Finding("note", f"{text} The scores here are of the other half.", "Variant")]
    if rivals:
        return [Finding("note", f"No variant was chosen on a validation half; {main.title} stands first.", "Variant")]
    return [Finding("note", tuned, main.title)] if tuned else []


def _notes_on_columns(results: Results, main: Model) -> list[Finding]:
    """Name the columns for which nothing is required, and why."""
    notes = []
    if texts := losses(results, main):
        notes.append(Finding("note", f"{enumerated(texts)}.", "Reported without a bound"))
    unknown = {}
    if results.oracle is None:
        unknown["oracle"] = "whether it forgot as much as it should"
    if results.vanilla is None:
        unknown["vanilla"] = "what was lost"
    if unknown:
        text = f"The run has no {' and no '.join(unknown)} model: {' and '.join(unknown.values())} cannot be said."
        notes.append(Finding("note", text, "Not checked"))
    if idle := [column.title for column in nothing_to_forget(results)]:
        text = f"The oracle knows {enumerated(idle)} (nearly) as well as vanilla does, so that nothing is shown there."
        notes.append(Finding("note", text, "Nothing to forget"))
    return notes


def _forget_quality(main: Model) -> list[Finding]:
    if main.forget_quality is None:
        return []
    # A large p is no proof that the two are alike, only that the test sees no difference: hence "cannot be told from".
    p = main.forget_quality.ks_p
    verdict = "cannot be told from" if p > 0.05 else "can be told from"
    text = f"The truth ratios of {main.title} on the forget set {verdict} the oracle's (KS p = {p:.2g})."
    return [Finding("note", text, "Forget quality")]


def _mask_promise(main: Model) -> list[Finding]:
    """Check the promise of the mask: that the forget term moved no weight outside it."""
    if not main.mask or "forget_outside" not in main.moved:
        return []
    reached = main.moved["forget_outside"]
    inside, outside = (count(main.moved.get(where, 0)) for where in ("inside", "outside"))
    moved = f"{inside} weights moved inside the mask and {outside} outside"
    if reached:
        return [Finding("missed", f"{moved}; the forget term reached {count(reached)} of those outside.", "Mask")]
    return [Finding("met", f"{moved}; the forget term reached none of those outside.", "Mask")]


# --- comparisons ----------------------------------------------------------------------------------------------------


def _comparisons(results: Results, main: Model) -> list[Finding]:
    """Compare with the controls, with equally forgetful baselines in words, and with all baselines in everything."""
    comparisons = []
    for control in (model for model in results.models if model.role == "control"):
        variant, topic = main, f"{main.title} over {control.title}"
        if control.mask_config is not None and control.mask_config.random:
            # The effect of saliency alone shows only against the variant whose mask has the same parts and options.
            twin = replace(control.mask_config, random=False)
            variants = [model for model in results.models if model.role == "method" and model.mask_config == twin]
            variant = next(iter(variants), main)
            topic = f"What saliency adds to a random mask ({control.title})"
        comparisons.append(Finding("note", _better_or_worse(results, variant, control), topic))
    comparisons += _at_equal_forgetting(results, main)
    for baseline in (model for model in results.models if model.role == "baseline"):
        topic = f"{main.title} against {baseline.title}"
        comparisons.append(Finding("note", _better_or_worse(results, main, baseline), topic))
    return comparisons


def _better_or_worse(results: Results, model: Model, reference: Model) -> str:
    """Name the columns in which one of two models is closer to the aim beyond noise."""
    columns = compare(results, model, reference)
    if not columns:
        return f"{model.title} and {reference.title} have no column in common."
    better = [c for c in columns if c.gain > 0 and c.beyond_noise(len(columns))]
    worse = [c for c in columns if c.gain < 0 and c.beyond_noise(len(columns))]
    if not better and not worse:
        return (
            f"Nothing measurable. In none of {plural(len(columns), 'column')} is {model.title} closer to the aim than "
            f"{reference.title}, or further from it, beyond noise ({describe_test(columns)})."
        )
    parts = [f"Better in {_with_points(better)}"] if better else []
    parts += [f"{'worse' if better else 'Worse'} in {_with_points(worse)}"] if worse else []
    level = len(columns) - len(better) - len(worse)
    return "; ".join(parts) + (f"; no measurable difference in the other {level}." if level else ".")


def _with_points(comparisons: Sequence[Comparison]) -> str:
    return enumerated([f"{c.column.title} ({signed(c.difference)} points)" for c in comparisons])


def _at_equal_forgetting(results: Results, main: Model) -> list[Finding]:
    """Compare the knowledge in words about the forgotten entities with that of baselines that forgot as much."""
    # A model that forgets little keeps all that it knows in words, which is no merit: others are listed, not compared.
    column = next((c for c in results.columns if c.name == "forget_qa" and c.good == "kept"), None)
    distance = _distance_from_aim(results, main)
    if column is None or distance is None or results.oracle is None or main.score(column.name) is None:
        return []
    baselines = [model for model in results.models if model.role == "baseline" and model.score(column.name)]
    distances = {model.title: _distance_from_aim(results, model) or 0.0 for model in baselines}
    equal = [model for model in baselines if max(distance, distances[model.title]) <= FORGET_BOUND]
    unequal = [f"{m.title} ({percent(distances[m.title])})" for m in baselines if m not in equal]
    notes = []
    for baseline in equal:
        main_score, baseline_score = (percent(model.scores[column.name][HEADLINE].value) for model in (main, baseline))
        (comparison,) = [c for c in compare(results, main, baseline) if c.column == column]
        topic = f"{column.title} against {baseline.title}"
        text = f"{main_score} against {baseline_score} % at equal forgetting ({signed(comparison.difference)} points)"
        if comparison.beyond_noise(1):
            notes.append(Finding("met" if comparison.gain > 0 else "missed", f"{text}.", topic))
        else:
            notes.append(Finding("note", f"{text}: no measurable difference.", topic))
    if unequal:
        text = (
            f"Points from the oracle on average: {main.title} {percent(distance)}, but {enumerated(unequal)}. "
            f"{'Its' if len(unequal) == 1 else 'Their'} {column.title} is not comparable."
        )
        notes.append(Finding("note", text, "Unequal forgetting"))
    return notes


def _distance_from_aim(results: Results, model: Model) -> float | None:
    """Return the mean distance of the columns to forget from their aims."""
    scores = [(column, score) for column in to_forget(results) if (score := model.score(column.name))]
    distances = [shortfall(score.value, target(results, column)) for column, score in scores]
    return sum(distances) / len(distances) if distances else None
