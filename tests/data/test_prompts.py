"""What models are shown: MLLMU-Bench's prompts, zero-shot and few-shot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from support.tiny import examples

from mmunlearner.data import Example, prompt, target, with_shots
from mmunlearner.data.prompts import answer_pools, candidate_answers
from mmunlearner.errors import DataError

CHOICE = Example("1", "ann", "Which job?", "pilot", task="multiple_choice", choices=("nurse", "pilot"))
CLOZE = Example("2", "ann", "Ann is a __.", "pilot", task="cloze")
NAMES = ("ann", "ben", "cat", "dan")
COLUMNS = {
    f"{group}_{kind}": tuple(
        e for e in examples(4, 2, images=kind == "vqa") if (e.entity in NAMES[:1]) == (group == "forget")
    )
    for group in ("forget", "retain")
    for kind in ("vqa", "qa")
}


def test_zero_shot_prompts():
    assert prompt(CHOICE) == "Which job?\nA: nurse\nB: pilot\nAnswer with the option's letter only."
    assert target(CHOICE) == "B"
    assert prompt(CLOZE) == "Ann is a [Blank].\nFill in the [Blank]."
    assert prompt(Example("3", "ann", "Who?", "Ann")) == "Who?"


def test_shots_stand_before_the_question_with_their_answers():
    [shot] = [Example("4", "ben", "Which town?", "Tarn", task="multiple_choice", choices=("Tarn", "Oslo"))]
    text = prompt(Example(**{**vars(CHOICE), "shots": (shot,)}))
    assert text == (
        "Which town?\nA: Tarn\nB: Oslo\nAnswer with the option's letter only.\nAnswer: A\n\n" + prompt(CHOICE)
    )


def test_no_shots_change_nothing():
    assert with_shots(COLUMNS, 0) is COLUMNS


def test_shots_are_about_others_of_the_same_kind_and_follow_the_seed():
    first, again, reseeded = (with_shots(COLUMNS, 2, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != reseeded
    for column, items in first.items():
        assert [item.id for item in items] == [item.id for item in COLUMNS[column]]
        for item in items:
            assert len(set(item.shots)) == 2
            assert not {item.entity, "ann"} & {shot.entity for shot in item.shots}
            assert {(shot.task, shot.modality) for shot in item.shots} == {(item.task, item.modality)}
    # shots are not always the same two
    assert len(Counter(shot.id for item in first["retain_vqa"] for shot in item.shots)) > 12


def test_general_questions_are_shots_for_each_other():
    items = tuple(Example(str(k), "nobody", f"{k} and 1?", str(k + 1)) for k in range(3))
    solved = with_shots({"general": items}, 2)["general"]
    assert [{shot.id for shot in item.shots} for item in solved] == [{"1", "2"}, {"0", "2"}, {"0", "1"}]


def test_one_retained_entity_has_no_shots_for_itself():
    with pytest.raises(DataError, match=r"retain_vqa: ann.*: there are 0 retained questions of .*evaluate.shots 1 can"):
        with_shots({"retain_vqa": tuple(examples(1, 2))}, 1)


def test_wrong_options_stand_in_for_perturbed_answers():
    assert candidate_answers(CHOICE, {}) == ("pilot", "nurse")
    perturbed = replace(CHOICE, perturbed=("x", CHOICE.answer, ""), paraphrase="y")
    assert candidate_answers(perturbed, {}) == ("pilot", "y", "x")


def test_other_peoples_answers_stand_in_where_nothing_else_is_given():
    items = [replace(item, id=f"{i}", answer=f"value {i}", choices=()) for i, item in enumerate(examples(4, 4))]
    pools = answer_pools([items[:20], items[20:]])
    truth, *wrong = candidate_answers(items[0], pools)
    assert truth == "value 0"
    assert len(set(wrong)) == 5
    assert "value 0" not in wrong
    assert [truth, *wrong] == list(candidate_answers(items[0], answer_pools([items[::-1]])))
    assert wrong != list(candidate_answers(items[1], pools)[1:])
    assert candidate_answers(replace(items[0], attribute=""), pools) == (truth,)
