"""Saved answers are checked when they are read: what the metrics divide by, zip or index is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.fabricated import lines_of

from mmunlearner.core.files import write_jsonl
from mmunlearner.errors import DataError
from mmunlearner.evaluate import judge
from mmunlearner.evaluate.saved import read_lines
from mmunlearner.evaluate.scores import read_columns

LINES = lines_of("vanilla", 4, 0)["forget_vqa"]


def test_lines_stay_as_they_were(tmp_path: Path):
    assert read_lines(write_jsonl(tmp_path / "a.jsonl", LINES)) == LINES
    more = {**LINES[0], "said": [1], "paraphrase_logp": None}
    assert read_lines(write_jsonl(tmp_path / "b.jsonl", [more])) == [{**LINES[0], "said": [1]}]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"task": "essay"}, "task: expected one of"),
        ({"answer_tokens": 0}, r"answer_tokens: expected 1 or more, found 0"),
        ({"answer_logp": 7.5}, r"answer_logp: expected 1 or less, found 7\.5"),
        ({"answer_logp": None}, "answer_logp and answer_tokens belong together"),
        ({"paraphrase_tokens": 3}, "paraphrase_logp and paraphrase_tokens belong together"),
        ({"perturbed_tokens": [2]}, "perturbed_logps and perturbed_tokens are of different length"),
        ({"option_logps": [-1.0] * 27}, "option_logps"),
        ({"output": None}, "output: expected a text, found nothing"),
        ({"choices": "abc"}, "choices: expected a list"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], problem: str):
    path = write_jsonl(tmp_path / "a.jsonl", [LINES[0], {**LINES[1], **change}])
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2: {problem}"):
        read_lines(path)


def test_judgements_without_a_number_are_unscored(tmp_path: Path):
    write_jsonl(tmp_path / "forget_vqa.jsonl", LINES)
    scores = [7, None, 10]
    judgements = [
        {"id": line["id"], "asked": "0", "score": score} for line, score in zip(LINES, scores, strict=False)
    ]  # fmt: skip
    write_jsonl(tmp_path / judge.JUDGE / "forget_vqa.jsonl", judgements)
    [lines] = read_columns(tmp_path).values()
    assert [line.get("factuality") for line in lines] == [0.7, None, 1.0, None]
    assert judge.unscored(tmp_path) == [LINES[1]["id"]]
    write_jsonl(tmp_path / judge.JUDGE / "forget_vqa.jsonl", [{**judgements[0], "score": 11}])
    with pytest.raises(DataError, match=r"judge/forget_vqa\.jsonl, line 1: score: expected 10 or less, found 11"):
        read_columns(tmp_path)
