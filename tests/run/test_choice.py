"""The rule that chooses among trials: within noise of the target, then least distortion."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmunlearner.report.records import Trial
from mmunlearner.run.choice import best, chosen_settings, excess, marked, pooled, rank

FEW = settings(max_examples=40)
GAPS = st.dictionaries(
    st.sampled_from(["ann", "ben", "cat", "dan"]),
    st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=4),
    min_size=2,
)


def trial(gaps: dict[str, list[float]], distortion: float, number: int = 0) -> Trial:
    of_column = {"forget_vqa": gaps}
    return {
        "settings": {"bound": float(number)}, "objective": 3.0 - distortion, "gaps": of_column,
        "excess": excess(of_column), "distortion": distortion,
    }  # fmt: skip


TRIALS = st.lists(st.tuples(GAPS, st.floats(0, 2)), min_size=1, max_size=5).map(
    lambda drawn: [trial(*values, number) for number, values in enumerate(drawn)]
)


@FEW
@given(GAPS)
def test_too_much_forgotten_counts_like_too_little(gaps: dict[str, list[float]]):
    mirrored = {name: [-value for value in values] for name, values in gaps.items()}
    assert excess({"forget_vqa": gaps}) == pytest.approx(excess({"forget_vqa": mirrored}))


def test_within_one_standard_error_is_within_noise():
    # Two entities at 0 and 1/2: a mean of 1/4 with a standard error of 1/4.
    assert excess({"forget_vqa": {"ann": [0.0, 0.0], "ben": [1.0, 0.0]}}) == 0
    assert excess({"forget_vqa": {"ann": [0.5], "ben": [0.5]}}) == 0.5
    both = {"forget_vqa": {"ann": [0.5], "ben": [0.5]}, "forget_qa": {"ann": [-0.25], "ben": [-0.25]}}
    assert excess(both) == 0.75


@FEW
@given(TRIALS)
def test_of_those_within_noise_the_least_distorted_is_chosen(trials: list[Trial]):
    chosen = trials[best(trials, "distortion")]
    within = [t for t in trials if t.get("excess") == 0]
    if within:
        assert chosen.get("excess") == 0
        assert chosen.get("distortion") == min(t.get("distortion", 9.0) for t in within)
    else:
        assert chosen["objective"] == min(t["objective"] for t in trials)


@FEW
@given(TRIALS, st.data())
def test_a_worse_trial_more_changes_no_choice(trials: list[Trial], data: st.DataObject):
    chosen = trials[best(trials, "distortion")]
    worse = trial(data.draw(GAPS), data.draw(st.floats(0, 2)), 9)
    assume(rank(worse, "distortion") >= rank(chosen, "distortion"))
    place = data.draw(st.integers(0, len(trials)))
    more = [*trials[:place], worse, *trials[place:]]
    assert rank(more[best(more, "distortion")], "distortion") == rank(chosen, "distortion")


@FEW
@given(st.dictionaries(st.sampled_from(["12", "12a", "24"]), st.tuples(GAPS, st.floats(0, 2)), min_size=1), st.data())
def test_the_order_of_folds_does_not_matter(
    folds: dict[str, tuple[dict[str, list[float]], float]], data: st.DataObject
):
    trials = {name: trial(*values) for name, values in folds.items()}
    other = {name: trials[name] for name in data.draw(st.permutations(list(trials)))}
    assert {**pooled(trials), "folds": None} == {**pooled(other), "folds": None}
    assert pooled(trials).get("folds") == pooled(other).get("folds")


@FEW
@given(GAPS, st.floats(0, 2))
def test_one_fold_is_judged_as_it_is_alone(gaps: dict[str, list[float]], distortion: float):
    alone = trial(gaps, distortion)
    assert rank(pooled({"12": alone}), "distortion") == pytest.approx(rank(alone, "distortion"))


def test_people_of_all_folds_are_judged_together():
    """Two folds that miss in opposite directions are within noise together."""
    low, high = ({"ann": [-0.5], "ben": [-0.5]}, {"cat": [0.5], "dan": [0.5]})
    together = pooled({"a": trial(low, 0.0), "b": trial(high, 1.0)})
    assert (together.get("excess"), together.get("distortion"), together["objective"]) == (0.0, 0.5, 2.5)
    assert "gaps" not in together.get("folds", {})["a"]


def test_trials_of_earlier_versions_are_chosen_by_their_distance():
    old: list[Trial] = [{"settings": {"bound": 1.0}, "objective": 0.3}, {"settings": {"bound": 2.0}, "objective": 0.2}]
    assert best(old, "distortion") == best(old, "distance") == 1
    assert chosen_settings({"npo": marked(old, "distance")}, "npo") == {"bound": 2.0}
    assert chosen_settings({}, "npo") == {}
