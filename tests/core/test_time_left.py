"""The time left, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmunlearner.core.time_left import Stage, TimeLeft, in_words

COSTS = {"evaluate a": 10.0, "measure b": 20.0, "unlearn c": 100.0, "evaluate c": 10.0, "unlearn d": 100.0}
KINDS: tuple[str, ...] = ("evaluate", "measure", "unlearn")


def run(left: TimeLeft, costs: Mapping[str, float], pace: Mapping[str, float], load: float) -> Iterator[float]:
    """Do the steps one after the other, `load` seconds each before the first report; yield the time of each report."""
    now = 0.0
    for name, cost in costs.items():
        left.start(name, now)
        yield now
        now += load
        units = 20
        for unit in range(units):
            now += cost * pace[name.partition(" ")[0]] / units
            left.report(name, (unit + 1) / units, now)
            yield now
        left.end(name, now)


paces = st.fixed_dictionaries({kind: st.floats(0.2, 30) for kind in KINDS})


@given(paces, st.floats(0, 10))
def test_the_error_of_the_estimate_shrinks_and_it_is_never_nothing(pace: dict[str, float], load: float) -> None:
    truth = sum(cost * pace[name.partition(" ")[0]] + load for name, cost in COSTS.items())
    left = TimeLeft([Stage(COSTS)])
    errors: list[tuple[float, float]] = []
    for now in run(left, COSTS, pace, load):
        seconds = left.seconds(now)
        assert seconds > 0
        errors.append((now / truth, abs(seconds - (truth - now)) / truth))
    # In the last half of the last step the estimate is right within a tenth; before, within what the forecast missed.
    assert all(error < 0.1 for passed, error in errors if passed > 0.95)
    worst = [max(error for passed, error in errors if passed >= since) for since in (0, 0.9)]
    assert worst[1] <= worst[0]
    assert (left.seconds(truth), left.share(truth)) == (0, 1)


def test_a_forecast_that_was_wrong_by_a_factor_is_soon_corrected() -> None:
    pace = dict.fromkeys(KINDS, 20.0)
    left, truth = TimeLeft([Stage(COSTS)]), 20.0 * sum(COSTS.values())
    for now in run(left, COSTS, pace, load=0.0):
        if now > truth / 20:
            assert left.seconds(now) == pytest.approx(truth - now, rel=0.3, abs=1.0)


def test_a_slow_start_is_not_taken_for_the_pace() -> None:
    """A model that loads for a minute, before the first of 1,000 short steps."""
    left = TimeLeft([Stage({"unlearn a": 100.0})])
    left.start("unlearn a", 0.0)
    left.report("unlearn a", 0.001, 60.1)
    left.report("unlearn a", 0.002, 60.2)
    assert 90 < left.seconds(60.2) < 160


def test_what_an_earlier_call_did_does_not_count_in_the_pace() -> None:
    left = TimeLeft([Stage({"unlearn a": 100.0, "unlearn b": 100.0, "evaluate a": 10.0})])
    left.skip("evaluate a")
    left.start("unlearn a", 0.0)
    for unit in range(51):  # resumed at its half
        left.report("unlearn a", 0.5 + unit / 100, float(unit))
    left.end("unlearn a", 51.0)
    assert left.seconds(51.0) == pytest.approx(100, rel=0.1)


def test_steps_side_by_side_take_the_time_of_the_longest_or_of_their_share() -> None:
    costs = {"unlearn a": 10.0, "unlearn b": 10.0, "unlearn c": 10.0, "unlearn d": 10.0}
    alone, by_two = TimeLeft([Stage(costs)]).seconds(0.0), TimeLeft([Stage(costs, width=2)]).seconds(0.0)
    assert by_two == pytest.approx(alone / 2)
    assert TimeLeft([Stage(costs, width=9)]).seconds(0.0) == pytest.approx(alone / 4)


def test_a_step_that_is_overdue_keeps_some_time() -> None:
    left = TimeLeft([Stage({"evaluate a": 10.0})])
    left.start("evaluate a", 1.0)
    waits = [left.seconds(1.0 + passed) for passed in (0, 5, 10, 100, 1000)]
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] >= 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "a few seconds"), (4.9, "a few seconds"), (44.7, "45 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"),
        (599.7, "10 min"), (720, "12 min"), (3599, "1 h 0 min"), (4320, "1 h 12 min"), (55632, "15 h 27 min"),
        (183600, "2 d 3 h"),
    ],
)  # fmt: skip
def test_times_in_words(seconds: float, text: str) -> None:
    assert in_words(seconds) == text


@given(st.floats(0, 1e7))
def test_no_time_is_written_as_nothing(seconds: float) -> None:
    assert not in_words(seconds).startswith("0")
