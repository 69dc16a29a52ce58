"""The items that choose settings: a validation half, which the tables' scores leave out, or all of a choosing fold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mmunlearner import data
from mmunlearner.config import Goal
from mmunlearner.data import Example
from mmunlearner.data.splits import sample_by_entity
from mmunlearner.evaluate import read_columns
from mmunlearner.evaluate.metrics import Line
from mmunlearner.evaluate.scores import item_scores, score_lines
from mmunlearner.run.choice import Gaps
from mmunlearner.run.run_dir import RunDir
from mmunlearner.run.tuning import COLUMNS, FORGOTTEN, RETAINED, in_words
from mmunlearner.unlearn import StopTarget, train_config

Columns = Mapping[str, Sequence[Example]]
"""Column -> its items."""
Lines = Mapping[str, Sequence[Line]]
"""Column -> answers to its items."""


def validation_items(run: RunDir) -> Columns:
    """Return the validation half's items, or all of a choosing fold; none where nothing is tuned or stops early."""
    config = run.config
    # Where nothing is chosen, no entity needs to be left out of the scores.
    if not any(m.trials or train_config(config.train, m).stop_every for m in config.methods.values()):
        return {}
    columns = {column: items for column, items in run.splits.evaluation.items() if column in COLUMNS}
    if config.only_chooses:
        return columns
    half, _ = data.validation(replace(run.splits, evaluation=columns))
    return half.evaluation


def trial_items(run: RunDir) -> Columns:
    """Return the items that judge a trial, at most `trial_limit` of each column.

    On a choosing fold all columns are asked: those of neighbours and general ability decide nothing, and show what a
    choice costs.
    """
    columns = run.splits.evaluation if run.config.only_chooses else validation_items(run)
    return {column: sample_by_entity(items, run.config.trial_limit) for column, items in columns.items()}


def retained_questions(run: RunDir) -> list[Example]:
    """Return the questions whose computation should stay, among those that judge; without any, the retain set's."""
    columns = validation_items(run)
    retained = [column for group in RETAINED[run.config.goal] for column in group]
    return [item for column in retained for item in columns.get(column, ())] or list(run.splits.retain)


def answers(run: RunDir, name: str) -> dict[str, list[Line]]:
    """Return a model's saved answers by column, to be scored by the rules of the run."""
    return read_columns(run.evaluation(name), run.config.evaluate.scoring)


@dataclass(frozen=True)
class References:
    """The references' answers to the items that judge, by which a method's trials are compared with them."""

    items: Columns
    vanilla: Lines
    oracle: Lines | None
    """None without an oracle: chance stands in its place."""

    def forget_target(self) -> tuple[dict[str, float], Literal["oracle", "chance"]]:
        """Return the accuracy to which forgotten columns should come down, by column, and its source."""
        if self.oracle is not None:
            return accuracies(self.oracle), "oracle"
        return {column: chance(items) for column, items in self.items.items()}, "chance"


def read_references(run: RunDir, items: Columns) -> References:
    """Read the references' answers to some items: all questions were asked already, so that nothing is evaluated."""
    ids = {column: {item.id for item in of_column} for column, of_column in items.items()}

    def read(name: str) -> Lines:
        lines = answers(run, name)
        return {column: [line for line in lines.get(column, ()) if line["id"] in ids[column]] for column in items}

    has_oracle = (run.evaluation("oracle") / "scores.json").exists()
    return References(items, read("vanilla"), read("oracle") if has_oracle else None)


def accuracies(lines: Lines) -> dict[str, float]:
    """Return the accuracy of each column that has answers."""
    return {column: score_lines(of_column)["accuracy"].value for column, of_column in lines.items() if of_column}


def forget_gaps(goal: Goal, lines: Lines, references: References) -> Gaps:
    """Return the scores of each forgotten item minus the oracle's, or minus chance, by what is forgotten and entity."""
    oracle = references.oracle
    gaps: dict[str, dict[str, list[float]]] = {}
    for group in FORGOTTEN[goal]:
        for column in group:
            scores = item_scores(lines.get(column, ()))
            level = chance(references.items.get(column, ()))
            # An oracle that was asked fewer questions (`evaluate.limit`) is compared on those.
            targets = item_scores(oracle.get(column, ())).values if oracle else dict.fromkeys(scores.values, level)
            for item, score in scores.values.items():
                if item in targets:
                    by_entity = gaps.setdefault(group[0], {})
                    by_entity.setdefault(scores.entities[item], []).append(score - targets[item])
    return gaps


def chance(items: Sequence[Example]) -> float:
    """Return the accuracy of guessing: one of the options, or one of the column's answers for the same attribute."""
    answers: dict[str, set[str]] = defaultdict(set)
    for item in items:
        answers[item.attribute].add(item.answer)
    # A free answer without an attribute cannot be guessed.
    guesses = [
        1 / len(i.choices) if i.choices else (1 / len(answers[i.attribute]) if i.attribute else 0.0) for i in items
    ]
    return sum(guesses) / max(len(guesses), 1)


def stop_target(run: RunDir) -> StopTarget:
    """Return the level at which training may end early: the forget target of the validation half's forget columns."""
    config, groups, items = run.config, FORGOTTEN[run.config.goal], trial_items(run)
    columns = [column for group in groups for column in group if column in items]
    # With `evaluate.limit` the oracle has answered some of the items only: its target is known for no others.
    evaluated = {
        c: {item.id for item in sample_by_entity(run.splits.evaluation[c], config.evaluate.limit)} for c in columns
    }
    items = {column: [item for item in items[column] if item.id in evaluated[column]] for column in columns}
    values, source = read_references(run, items).forget_target()
    return StopTarget(items, values, {in_words(group[0]): group for group in groups}, source, config.evaluate)
