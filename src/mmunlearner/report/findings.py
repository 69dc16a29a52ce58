"""What a run shows, in plain words. Every sentence is computed from its results, the unwelcome ones too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mmunlearner.report.criteria import Criterion, criteria, losses, nothing_to_forget
from mmunlearner.report.goals import FORGET_BOUND, shortfall, target, to_forget
from mmunlearner.report.paired import Difference, compare, entities, test_of
from mmunlearner.report.results import HEADLINE, Column, Model, Run
from mmunlearner.report.words import count, difference, ended, listed, percent, plural

Verdict = Literal["met", "missed", "note"]
GATE_FAILED = "The vanilla model does not clearly know the forget set better than the oracle: nothing can be claimed."
PEOPLE = frozenset({"people", "mllmu", "clear", "fiubench"})
"""Benchmarks whose entities are people."""


@dataclass(frozen=True)
class Finding:
    verdict: Verdict
    """Whether a requirement is met or missed; a note requires nothing."""
    text: str
    topic: str = ""


@dataclass(frozen=True)
class Headline:
    """The run in a few words and one or two sentences."""

    title: str
    text: str
    good: bool


@lru_cache(maxsize=4)
def findings(run: Run) -> tuple[Finding, ...]:
    """All findings, the gate first: where it failed nothing is claimed."""
    gate, main = run.results.gate, run.results.main
    if gate and not gate.passed:
        return (Finding("missed", gate.text or GATE_FAILED, "Memorisation gate"),)
    made: list[Finding] = [Finding("met", gate.text, "Memorisation gate")] if gate and gate.text else []
    if main is None:
        return (*made, *_notes(run))
    made += _choice(run, main)
    made += [Finding("met" if c.met else "missed", c.text, _requirement(c)) for c in criteria(run, main)]
    made += _losses(run, main) + _unchecked(run) + _idle(run)
    made += [_control(run, main, control) for control in run.results.models if control.role == "control"]
    made += _at_equal_forgetting(run, main)
    made += [_against(run, main, other) for other in run.results.models if other.role == "baseline"]
    return (*made, *_quality(main), *_moved(main), *_endings(run), *_notes(run))


def sentences(run: Run) -> list[str]:
    """The findings' texts alone."""
    return [f"{each.topic}: {each.text}" if each.topic else each.text for each in findings(run)]


def _requirement(criterion: Criterion) -> str:
    return "To forget" if criterion.reference == "oracle" else "To keep"


def _endings(run: Run) -> list[Finding]:
    """Of the models whose training could stop early: when it did, and by what."""
    models = [model for model in run.results.models if model.look]
    return [Finding("note", f"{ended(model.look)}.", f"Training of {model.title}") for model in models]


def _notes(run: Run) -> list[Finding]:
    return [Finding("note", text) for text in run.results.notes]


# --- headline -------------------------------------------------------------------------------------------------------


def headline(run: Run) -> Headline:
    """What was to be forgotten and whether it was."""
    gate, main = run.results.gate, run.results.main
    if gate and not gate.passed:
        return Headline("Nothing can be claimed", gate.text or GATE_FAILED, False)
    if main is None:
        return Headline("Before unlearning", f"{_aim(run)} No model of this run has unlearned yet.", False)
    checked = criteria(run, main)
    title, good = _verdict(checked)
    return Headline(title, f"{_aim(run)} {_outcome(run, main)} {_count(checked)}".strip(), good)


def _verdict(checked: Sequence[Criterion]) -> tuple[str, bool]:
    forget = [c.met for c in checked if c.reference == "oracle"]
    keep = [c.met for c in checked if c.reference == "vanilla"]
    if not forget:
        return "Nothing to compare forgetting with", False
    if all(forget):
        return ("Forgotten, and the rest kept", True) if all(keep) else ("Forgotten, but at a price", False)
    return ("The rest kept, but not forgotten", False) if all(keep) else ("Neither forgotten nor all kept", False)


def _aim(run: Run) -> str:
    number = entities(run, "forget_vqa")
    noun = "people" if run.results.benchmark in PEOPLE else "entities"
    who = f"{number} {noun}" if number else f"The chosen {noun}"
    if run.results.goal == "full":
        return f"{who} were to be forgotten altogether, by sight and in words."
    return f"{who} were to be forgotten by sight, while everything known of them in words was to stay."


def _outcome(run: Run, main: Model) -> str:
    """`X brought Forget VQA from 100.0 to 4.2 % (oracle 3.3 %) and ...`"""
    moves = [move for column in to_forget(run.results) if (move := _move(run, main, column))]
    return f"{main.title} brought {listed(moves)}." if moves else ""


def _move(run: Run, main: Model, column: Column) -> str:
    vanilla, oracle = run.results.vanilla, run.results.oracle
    after = main.score(column.name)
    before = vanilla.score(column.name) if vanilla else None
    aim = oracle.score(column.name) if oracle else None
    if after is None:
        return ""
    start = f"from {percent(before.value)} " if before else ""
    return f"{column.title} {start}to {percent(after.value)} %" + (f" (oracle {percent(aim.value)} %)" if aim else "")


def _count(checked: Sequence[Criterion]) -> str:
    missed = [criterion.column.title for criterion in checked if not criterion.met]
    if not checked:
        return ""
    if not missed:
        some = "that can be checked " if all(c.reference == "vanilla" for c in checked) else ""
        return f"All {plural(len(checked), 'bound')} {some}are met."
    return f"{len(checked) - len(missed)} of {plural(len(checked), 'bound')} are met; missed: {listed(missed)}."


# --- single findings ------------------------------------------------------------------------------------------------


def _choice(run: Run, main: Model) -> list[Finding]:
    """Which variant stands for the method, and by what it was chosen."""
    rivals = [m.title for m in run.results.models if m.family and m.family == main.family and m is not main]
    tuned = (
        f"Its settings were the best of {plural(main.trials, 'trial')} on the validation half." if main.trials else ""
    )
    if main.chosen and rivals:
        text = f"{main.title} was chosen on the validation half, over {listed(rivals)}. {tuned}".strip()
        return [Finding("note", f"{text} The scores here are of the other half.", "Variant")]
    if rivals:
        return [Finding("note", f"No variant was chosen on a validation half; {main.title} stands first.", "Variant")]
    return [Finding("note", tuned, main.title)] if tuned else []


def _idle(run: Run) -> list[Finding]:
    idle = [column.title for column in nothing_to_forget(run)]
    if not idle:
        return []
    text = f"The oracle knows {listed(idle)} (nearly) as well as vanilla does, so that nothing is shown there."
    return [Finding("note", text, "Nothing to forget")]


def _unchecked(run: Run) -> list[Finding]:
    lacking = [
        name for name, model in (("oracle", run.results.oracle), ("vanilla", run.results.vanilla)) if model is None
    ]
    if not lacking:
        return []
    what = {"oracle": "whether it forgot as much as it should", "vanilla": "what was lost"}
    unknown = " and ".join(what[name] for name in lacking)
    return [
        Finding("note", f"The run has no {' and no '.join(lacking)} model: {unknown} cannot be said.", "Not checked")
    ]


def _losses(run: Run, main: Model) -> list[Finding]:
    lost = losses(run, main)
    return [Finding("note", f"{listed(lost)}.", "Reported without a bound")] if lost else []


def _forgetting(run: Run, model: Model) -> float | None:
    """Mean distance from where the forgotten columns should end."""
    columns = [(column, score) for column in to_forget(run.results) if (score := model.score(column.name))]
    short = [shortfall(score.value, target(run.results, column)) for column, score in columns]
    return sum(short) / len(short) if short else None


def _at_equal_forgetting(run: Run, main: Model) -> list[Finding]:
    """What is still known in words of the forgotten, against each baseline that forgot as well as it should, too."""
    column = next((c for c in run.results.columns if c.name == "forget_qa" and c.good == "kept"), None)
    reached = _forgetting(run, main)
    if column is None or reached is None or run.results.oracle is None or main.score(column.name) is None:
        return []
    baselines = [m for m in run.results.models if m.role == "baseline" and m.score(column.name)]
    off = {model.title: _forgetting(run, model) or 0.0 for model in baselines}
    equal = [m for m in baselines if max(reached, off[m.title]) <= FORGET_BOUND]
    other = [f"{m.title} ({percent(off[m.title])})" for m in baselines if m not in equal]
    made = [_equal(run, main, model, column) for model in equal]
    if other:
        text = f"Points from the oracle on average: {main.title} {percent(reached)}, but {listed(other)}. "
        what = "Its" if len(other) == 1 else "Their"
        made.append(Finding("note", f"{text}{what} {column.title} is not comparable.", "Unequal forgetting"))
    return made


def _equal(run: Run, main: Model, other: Model, column: Column) -> Finding:
    ours, theirs = main.scores[column.name][HEADLINE], other.scores[column.name][HEADLINE]
    (gap,) = [each for each in compare(run, main, other) if each.column == column]
    text = (
        f"{percent(ours.value)} against {percent(theirs.value)} % at equal forgetting ({difference(gap.score)} points)"
    )
    if not gap.clear(1):
        return Finding("note", f"{text}: no measurable difference.", f"{column.title} against {other.title}")
    return Finding("met" if gap.better > 0 else "missed", f"{text}.", f"{column.title} against {other.title}")


def _control(run: Run, main: Model, control: Model) -> Finding:
    """What saliency adds: the control against the variant that differs from it in the saliency alone."""
    ours, random = _twin(run, main, control), _is_random(run, control)
    topic = f"What saliency adds to a random mask ({control.title})" if random else f"{ours.title} over {control.title}"
    return Finding("note", _adds(compare(run, ours, control), ours, control), topic)


def _is_random(run: Run, model: Model) -> bool:
    """Whether its mask was drawn at random; the mask's name says it where its statistics are missing."""
    return bool(run.mask(model).get("random", "random" in model.mask.split("-")))


def _twin(run: Run, main: Model, control: Model) -> Model:
    """The method's variant whose mask is of the same parts as a random one; the main model for any other control."""
    same = "-".join(word for word in control.mask.split("-") if word != "random")
    variants = [model for model in run.results.models if model.role == "method" and model.mask == same]
    return next(iter(variants), main) if _is_random(run, control) else main


def _against(run: Run, main: Model, other: Model) -> Finding:
    return Finding("note", _adds(compare(run, main, other), main, other), f"{main.title} against {other.title}")


def _adds(gaps: Sequence[Difference], ours: Model, theirs: Model) -> str:
    """Columns in which one of two models is closer to the aim beyond noise."""
    if not gaps:
        return f"{ours.title} and {theirs.title} have no column in common."
    better = [gap for gap in gaps if gap.better > 0 and gap.clear(len(gaps))]
    worse = [gap for gap in gaps if gap.better < 0 and gap.clear(len(gaps))]
    if not better and not worse:
        return (
            f"Nothing measurable. In none of {plural(len(gaps), 'column')} is {ours.title} closer to the aim than "
            f"{theirs.title}, or further from it, beyond noise ({test_of(gaps)})."
        )
    parts = [f"Better in {_each(better)}"] * bool(better) + [
        f"{'worse' if better else 'Worse'} in {_each(worse)}"
    ] * bool(worse)
    rest = len(gaps) - len(better) - len(worse)
    return f"{'; '.join(parts)}" + (f"; no measurable difference in the other {rest}." if rest else ".")


def _each(gaps: Sequence[Difference]) -> str:
    return listed([f"{gap.column.title} ({difference(gap.score)} points)" for gap in gaps])


def _quality(main: Model) -> list[Finding]:
    p = main.forget_quality.get("ks_p")
    if p is None:
        return []
    verdict = "cannot be told from" if p > 0.05 else "can be told from"
    text = f"The truth ratios of {main.title} on the forget set {verdict} the oracle's (KS p = {p:.2g})."
    return [Finding("note", text, "Forget quality")]


def _moved(main: Model) -> list[Finding]:
    """The mask is a promise: the forget term must not have reached a weight outside it."""
    if not main.mask or "forget_outside" not in main.moved:
        return []
    stray = main.moved["forget_outside"]
    inside, outside = (count(main.moved.get(where, 0)) for where in ("inside", "outside"))
    moved = f"{inside} weights moved inside the mask and {outside} outside"
    if stray:
        return [Finding("missed", f"{moved}; the forget term reached {count(stray)} of those outside.", "Mask")]
    return [Finding("met", f"{moved}; the forget term reached none of those outside.", "Mask")]
