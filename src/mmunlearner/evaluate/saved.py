"""Files of an evaluation, checked when they are read: saved answers, judgements, scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from mmunlearner.core.records import read_records
from mmunlearner.data.example import Task
from mmunlearner.errors import DataError
from mmunlearner.option_types import AtLeastOne

# A little above zero, since sums of logarithms are rounded.
LogProbability = Annotated[float, Field(le=1)]
LETTERS = 26
"""Options that letters can name."""


class Score(NamedTuple):
    """A mean with its uncertainty."""

    value: float
    stderr: float
    """Standard error of `value`, clustered by entity."""
    n: int = 0
    """Items behind it."""


class Scores(TypedDict):
    """Content of `scores.json`, and of other files with scores."""

    columns: Mapping[str, Mapping[str, Score]]
    """Column -> metric -> score."""


class Answer(TypedDict):
    """A line of saved answers; `scores` says what is in it."""

    id: str
    entity: str
    column: str
    task: Task
    target: str
    answer: str
    output: str
    prompt: str
    attribute: NotRequired[str]
    choices: NotRequired[Annotated[list[str], Field(max_length=LETTERS)]]
    longer: NotRequired[list[str]]
    option_logps: NotRequired[Annotated[list[LogProbability], Field(max_length=LETTERS)]]
    answer_logp: NotRequired[LogProbability]
    answer_tokens: NotRequired[AtLeastOne]
    paraphrase_logp: NotRequired[LogProbability]
    paraphrase_tokens: NotRequired[AtLeastOne]
    perturbed_logps: NotRequired[list[LogProbability]]
    perturbed_tokens: NotRequired[list[AtLeastOne]]


class Judgement(TypedDict):
    """A line of a judge's scores."""

    id: str
    asked: str
    """Hash of the request."""
    score: NotRequired[Annotated[int, Field(ge=1, le=10)]]
    """Absent where the reply holds no number."""


def read_lines(path: Path | str) -> list[Mapping[str, Any]]:
    """Read one column's saved answers.

    Raises:
        DataError: the file is missing or broken, or a field of a line is (file, line and field are named).
    """
    lines = read_records(path, Answer)
    for number, line in enumerate(lines, 1):
        for name, wanted in (("answer", "perturbed_logps" in line), ("paraphrase", False)):
            parts = [f"{name}_{part}" in line for part in ("logp", "tokens")]
            if any([*parts, wanted]) and not all(parts):
                raise DataError(f"{path}, line {number}: {name}_logp and {name}_tokens belong together")
        if len(line.get("perturbed_logps", ())) != len(line.get("perturbed_tokens", ())):
            raise DataError(f"{path}, line {number}: perturbed_logps and perturbed_tokens are of different length")
    return lines  # pyright: ignore[reportReturnType]
