"""Saved answers -> scores, without a model."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmunlearner.core.files import read_json, write_jsonl
from mmunlearner.errors import DataError
from mmunlearner.evaluate import Score, read_columns, read_scores, rescore
from mmunlearner.evaluate.scores import METRICS, score_lines

COMMON = {"modality": "vqa", "attribute": "job", "image": None, "prompt": "?", "answer_logp": -2.0, "answer_tokens": 2}


def line(id, task="generation", *, output="a doctor", entity="ann", column="forget_vqa", **more):
    answer = "doctor"
    target = "B" if task == "multiple_choice" else answer
    base = {"id": id, "entity": entity, "column": column, "task": task, "target": target, "answer": answer}
    return {**base, **COMMON, "output": output, **more}


def test_each_metric_counts_the_items_it_applies_to(tmp_path):
    wrongs = {"perturbed_logps": [-4.0, -2.0], "perturbed_tokens": [2, 1]}
    lines = [
        line("1", "multiple_choice", output="B", **wrongs),
        line("2", "multiple_choice", output="A", entity="ben"),
        line("3", "cloze", output="the Doctor."),
        line("4", output="a doctor", paraphrase_logp=-3.0, paraphrase_tokens=1, **wrongs),
    ]
    scores = score_lines(lines)
    assert {name: (score.value, score.n) for name, score in scores.items() if name not in ("bleu", "probability")} == {
        "accuracy": (0.75, 4),
        "multiple_choice": (0.5, 2),
        "cloze": (1, 1),
        "generation": (1, 1),
        "rouge_l": (pytest.approx(2 / 3), 1),
        "rouge_l_recall": (1, 1),
        # item 1: r = e^-2 / e^-1 against the answer; item 4: r = e^-2 / e^-3 against its paraphrase; both 1/e from 1
        "truth_ratio": (pytest.approx(0.36787944), 2),
        # e^-1 against e^-2 and e^-2
        "choice_probability": (pytest.approx(0.5761169), 2),
    }
    assert scores["probability"].value == pytest.approx(0.36787944)


def test_the_truth_ratio_of_other_columns_asks_how_sure_the_model_is():
    wrongs = {"perturbed_logps": [-6.0], "perturbed_tokens": [2]}
    for column, expected in (("forget_vqa", 0.1353353), ("retain_vqa", 0.8646647)):
        scores = score_lines(
            [line("1", column=column, answer_logp=-1.0, answer_tokens=1, **wrongs) | {"column": column}]
        )
        assert scores["truth_ratio"].value == pytest.approx(expected)


def test_multiple_choice_is_scored_by_likelihood_too():
    """B is right. Said B, A, nothing; likeliest B, B, A."""
    weighed = [("B", [-2.0, -1.0]), ("A", [-2.0, -1.0]), ("?", [-1.0, -2.0])]
    lines = [
        line(str(i), "multiple_choice", output=said, entity=str(i), option_logps=logps)
        for i, (said, logps) in enumerate(weighed)
    ]
    scores = score_lines(lines)
    values = {name: scores[name].value for name in scores if name.startswith("multiple_choice")}
    assert values == {
        "multiple_choice": pytest.approx(1 / 3),
        "multiple_choice_likelihood": pytest.approx(2 / 3),
        "multiple_choice_agreement": pytest.approx(1 / 3),
    }


def test_metrics_that_do_not_apply_are_absent():
    bare = {k: v for k, v in line("1", "cloze").items() if not k.startswith("answer_")}
    assert set(score_lines([bare])) == {"accuracy", "cloze"}
    assert set(score_lines([bare])) < set(METRICS)


def test_rescoring_writes_what_it_returns_and_reads_back(tmp_path):
    write_jsonl(tmp_path / "forget_vqa.jsonl", [line("1"), line("2", output="x", entity="ben")])
    write_jsonl(tmp_path / "general.jsonl", [line("3", "cloze", column="general")])
    scores = rescore(tmp_path)
    assert list(scores.columns) == ["forget_vqa", "general"]
    assert scores.columns["forget_vqa"]["accuracy"] == Score(0.5, 0.5, 2)
    assert read_scores(tmp_path) == scores
    assert read_json(tmp_path / "scores.json")["columns"]["general"]["cloze"] == {"value": 1.0, "stderr": 0.0, "n": 1}


def test_a_line_that_is_no_item_is_named(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [line("1"), {"id": "2"}])
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: .*entity, column"):
        read_columns(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no evaluated items"):
        rescore(tmp_path)


def test_scoring_imports_no_torch(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [line("1")])
    code = (
        "import sys; from mmunlearner.evaluate import rescore; rescore(sys.argv[1]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0
