"""What may be claimed: whether there was anything to forget, and how far from the oracle a model ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmunlearner.errors import DataError
from mmunlearner.evaluate.metrics import ForgetQuality, Score, forget_quality, paired_difference
from mmunlearner.evaluate.scores import METRICS, Line, log_ratio


class Gate(NamedTuple):
    """The memorisation gate: does the vanilla model know what it is to forget?"""

    passed: bool
    margin: float
    """Vanilla's accuracy on the forget set minus the oracle's, on the same items."""
    stderr: float
    text: str
    """One plain sentence for the report."""


def difference(a: Sequence[Line], b: Sequence[Line], metric: str = "accuracy") -> Score:
    """Mean of a - b over the items both have, paired, clustered by entity.

    Raises:
        DataError: they have no item in common to which the metric applies.
    """
    measure = METRICS[metric]
    ours, theirs = ({line["id"]: v for line in lines if (v := measure(line)) is not None} for lines in (a, b))
    try:
        return paired_difference(ours, theirs, {line["id"]: line["entity"] for line in a}, what=metric)
    except ValueError as error:
        raise DataError(str(error)) from None


def oracle_gap(
    model: Mapping[str, Sequence[Line]], oracle: Mapping[str, Sequence[Line]], metric: str = "accuracy"
) -> dict[str, Score]:
    """Model minus oracle for each column that both were evaluated on."""
    return {column: difference(lines, oracle[column], metric) for column, lines in model.items() if column in oracle}


def distance_to_oracle(model: Sequence[Line], oracle: Sequence[Line]) -> ForgetQuality | None:
    """Forget quality of one column by its truth ratios; None where its items have no perturbed answers."""
    ratios = [[ratio for line in lines if (ratio := log_ratio(line)) is not None] for lines in (model, oracle)]
    return forget_quality(*ratios) if all(ratios) else None


def memorisation_gate(
    vanilla: Sequence[Line], oracle: Sequence[Line], *, margin: float = 0.10, errors: float = 2.0
) -> Gate:
    """Passed if vanilla is right on the forget set more often than the oracle by at least `margin`, and by more than
    `errors` standard errors of the paired difference. Nothing may be claimed of a run that does not pass.
    """
    gap = difference(vanilla, oracle)
    passed = gap.value >= margin and gap.value > errors * gap.stderr
    known = f"The vanilla model answers {_percent(gap)} points more of the forget set than the retain oracle"
    if passed:
        return Gate(True, gap.value, gap.stderr, f"{known}: it knows what it is to forget.")
    why = f"a clear margin is at least {margin:.0%} and more than {errors:g} standard errors"
    return Gate(False, gap.value, gap.stderr, f"{known}, but {why}: nothing can be claimed of forgetting here.")


def _percent(gap: Score) -> str:
    return f"{100 * gap.value:.1f} ± {100 * gap.stderr:.1f}"
