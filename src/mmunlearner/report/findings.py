"""Findings of a run in plain words. Every sentence is computed from the results, the unwelcome ones too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmunlearner.evaluate.scores import POWER
from mmunlearner.report.comparisons import against_baselines, against_other_controls, against_random_masks
from mmunlearner.report.criteria import (
    ORACLE_BOUND,
    bound,
    compare,
    criteria,
    nothing_to_forget,
    shortfall,
    target,
    to_forget,
    visible,
)
from mmunlearner.report.results import HEADLINE, Model, Results
from mmunlearner.report.template import count, enumerated, least, percent, plural, signed, stop_check
from mmunlearner.report.trials import judges, named_folds

Verdict = Literal["met", "unclear", "missed", "note"]
GATE_FAILED = "The vanilla model does not clearly know the forget set better than the oracle: nothing can be claimed."


@dataclass(frozen=True)
class Finding:
    verdict: Verdict
    """A requirement is met, missed, or missed by less than noise; a note requires nothing."""
    text: str
    topic: str = ""


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
                criterion.outcome,
                criterion.text,
                "To forget" if criterion.reference == "oracle" else "To keep",
            )
            for criterion in criteria(results, main)
        ),
        *_notes_on_columns(results, main),
        *_power(results, main),
        *_comparisons(results, main),
        *_forget_quality(main),
        *_mask_promise(main),
        *_sparse_masks(results),
        *(
            Finding("note", f"{stop_check(model.look)}.", f"Training of {model.title}")
            for model in results.models
            if model.look
        ),
        *notes,
    )


# --- requirements ---------------------------------------------------------------------------------------------------


def _choice_of_variant(results: Results, main: Model) -> list[Finding]:
    """Name the variant that stands for the method, and the basis of its choice."""
    # The reader should know that the scores shown are not those that it was chosen by.
    rivals = [m.title for m in results.models if m.family and m.family == main.family and m is not main]
    where = judges(results)
    tuned = f"Its settings were the best of {plural(len(main.trials), 'trial')} {where}." if main.trials else ""
    if main.chosen and rivals:
        text = f"{main.title} was chosen {where}, over {enumerated(rivals)}. {tuned}".strip()
        text += f" The scores here are of {named_folds(results.folds) if results.choosing_folds else 'the other half'}."
        return [Finding("note", text, "Variant")]
    if rivals:
        return [Finding("note", f"No variant was chosen by trials; {main.title} stands first.", "Variant")]
    return [Finding("note", tuned, main.title)] if tuned else []


def _notes_on_columns(results: Results, main: Model) -> list[Finding]:
    """Name the columns for which nothing is required, and why."""
    notes = []
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


def _power(results: Results, main: Model) -> list[Finding]:
    """Say how large a difference must be for this run to show it, and in which columns its bound is smaller."""
    seen = [(column, size) for column in results.columns if (size := visible(results, main, column)) is not None]
    if not seen:
        return []
    (finest, smallest), (coarsest, largest) = (choose(seen, key=lambda pair: pair[1]) for choose in (min, max))
    text = (
        f"To be seen in {100 * POWER:.0f} % of such runs (two-sided test at 5 %), {main.title} must truly differ by "
        f"{least(smallest)} points in {finest.title}, the finest column, and by {least(largest)} in {coarsest.title}."
    )
    if coarse := [f"{column.title} ({least(size)})" for column, size in seen if size > bound(column)]:
        text += f" That is more than the bound, so that a loss of its size is easily missed, in {enumerated(coarse)}."
    return [Finding("note", text, "What can be seen")]


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


def _sparse_masks(results: Results) -> list[Finding]:
    """Name the masks that leave the forget term hardly anything, and what to set."""
    titles: dict[str, list[str]] = {}
    for model in results.models:
        if model.mask_warning:
            titles.setdefault(model.mask_warning, []).append(model.title)
    return [
        Finding(
            "missed", f"The mask leaves the forget term hardly anything: {warning}.", f"Mask of {enumerated(names)}"
        )
        for warning, names in titles.items()
    ]


# --- comparisons ----------------------------------------------------------------------------------------------------


def _comparisons(results: Results, main: Model) -> list[Finding]:
    """Compare with the controls, with equally forgetful baselines in words, and with all baselines in everything."""
    controls = [
        Finding("note", c.text, f"What saliency adds to a random mask ({c.reference.title})")
        for c in against_random_masks(results, main)
    ]
    others = [(c, f"{main.title} over {c.reference.title}") for c in against_other_controls(results, main)]
    baselines = [(c, f"{main.title} against {c.reference.title}") for c in against_baselines(results, main)]
    return [
        *controls,
        *(Finding("note", contrast.text, topic) for contrast, topic in others),
        *_at_equal_forgetting(results, main),
        *(Finding("note", contrast.text, topic) for contrast, topic in baselines),
    ]


def _at_equal_forgetting(results: Results, main: Model) -> list[Finding]:
    """Compare the knowledge in words about the forgotten entities with that of baselines that forgot as much."""
    # A model that forgets little keeps all that it knows in words, which is no merit: others are listed, not compared.
    column = next((c for c in results.columns if c.name == "forget_qa" and c.good == "kept"), None)
    distance = _distance_from_aim(results, main)
    if column is None or distance is None or results.oracle is None or main.score(column.name) is None:
        return []
    baselines = [model for model in results.models if model.role == "baseline" and model.score(column.name)]
    distances = {model.title: _distance_from_aim(results, model) or 0.0 for model in baselines}
    equal = [model for model in baselines if max(distance, distances[model.title]) <= ORACLE_BOUND]
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
