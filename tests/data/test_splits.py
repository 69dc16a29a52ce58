from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny import examples

from mmunlearner.data import Example, ImageRef, Splits, overlap, sample_by_entity, validation
from mmunlearner.data.splits import check_splits, forget_others
from mmunlearner.errors import DataError

IMAGE = ImageRef("a", b"a")


def item(entity: str, question: str = "?", image: ImageRef | None = None) -> Example:
    return Example(
        f"{entity}/{question}/{image.path if image else ''}", entity, question, "yes", (image,) if image else ()
    )


NAMES = st.lists(st.text(min_size=1), min_size=2, max_size=12, unique=True)


@given(forget=NAMES, retain=NAMES)
def test_halves_are_disjoint_complete_and_depend_on_names_alone(forget: list[str], retain: list[str]):
    columns = {
        "forget_vqa": tuple(item(n, q) for n in forget for q in "ab"),
        "forget_qa_test": tuple(item(n, q) for n in forget for q in "cd"),
        "retain_vqa": tuple(item(n) for n in retain),
        "general": tuple(item("g", str(k)) for k in range(5)),
    }
    splits = Splits((item("x"),), (item("y"),), (), columns)
    tune, test = validation(splits)
    for column, items in columns.items():
        parts = [set(half.evaluation[column]) for half in (tune, test)]
        assert parts[0] | parts[1] == set(items)
        assert not parts[0] & parts[1]
    for group, names in (("forget", forget), ("retain", retain)):
        entities = [
            {e.entity for c, i in half.evaluation.items() if c.startswith(group) for e in i} for half in (tune, test)
        ]
        assert not entities[0] & entities[1]
        assert [len(h) for h in entities] == [len(names) // 2, len(names) - len(names) // 2]
    assert (tune.forget, test.retain) == (splits.forget, splits.retain)
    turned = replace(splits, evaluation={c: items[::-1] for c, items in columns.items()})
    assert {e.entity for e in validation(turned)[0].evaluation["forget_vqa"]} == {
        e.entity for e in tune.evaluation["forget_vqa"]
    }


def test_one_entity_cannot_be_halved():
    with pytest.raises(DataError, match="forget: ann cannot be halved to tune and to test; leave out trials"):
        validation(Splits((), (), (), {"forget_vqa": (item("ann"), item("ann", "b"))}))


def test_overlap_is_found_by_wording_and_image():
    evaluated = (item("a", "Who  IS it?"), item("a", "who is it?", IMAGE), item("b", "who is it?", ImageRef("b", b"b")))
    splits = Splits((item("a", "Who is it?", IMAGE),), (), (item("a", "who is it?"),), {"forget_vqa": evaluated})
    assert overlap(splits) == ((evaluated[0].id,), (evaluated[1].id,))
    assert str(overlap(splits)) == (
        f"1 of the evaluated text questions are in the text set ({evaluated[0].id}, ...); "
        f"1 of the evaluated image questions are in the forget or retain set ({evaluated[1].id}, ...)"
    )
    clean = replace(splits, evaluation={"forget_vqa": evaluated[2:]})
    assert str(overlap(clean)) == "no evaluated question is trained on"


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (Splits((), (item("b"),), (), {}), "here: the forget set is empty"),
        (Splits((item("a"),), (), (), {}), "here: the retain set is empty"),
        (Splits((item("a"),), (item("b"),), (), {"forget_qa": ()}), "here: the evaluation column forget_qa is empty"),
        (
            Splits((item("a"),), (item("b"),), (), {"forget_qa": (item("a"), item("a"))}),
            "here: two items of the column forget_qa have the id a/",
        ),
        (
            Splits((item("a"), item("c")), (item("b"), item("c"), item("a")), (), {}),
            r"here: a and 1 more is both in the forget set \(a/\?/\) and in the retain set \(a/\?/\); it must",
        ),
    ],
)
def test_splits_that_cannot_be_used(splits: Splits, message: str):
    with pytest.raises(DataError, match=message):
        check_splits(splits, "here")


FORGET, RETAIN = (item("Ada"),), (item("Bob"),)


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"evaluation": {"neighbour_qa": (item("Ada", "Who?"),)}}, "the forget set .* and in the column neighbour_qa"),
        ({"evaluation": {"retain_vqa_test": (item("Ada"),)}}, "the forget set .* and in the column retain_vqa_test"),
        ({"background": (item("Ada", image=IMAGE),)}, "the forget set .* and in the background set"),
        ({"evaluation": {"forget_qa": (item("Bob"),)}}, "the column forget_qa .* and in the retain set"),
        ({"evaluation": {"neighbour_vqa": (item("Bob"),)}}, "the retain set .* and in the column neighbour_vqa"),
        ({"evaluation": {"stranger_qa": (item("Ada"),)}}, "the forget set .* and in the column stranger_qa"),
    ],
)
def test_nobody_is_forgotten_and_kept(change: dict[str, Any], places: str):
    with pytest.raises(DataError, match=rf"here: (Ada|Bob) is both in {places} .*; it must be in one"):
        check_splits(replace(Splits(FORGET, RETAIN, (), {}), **change), "here")


def test_nobody_is_a_neighbour_and_a_stranger():
    columns = {"neighbour_vqa": (item("Eve"),), "stranger_qa": (item("Eve", "b"),)}
    with pytest.raises(DataError, match="Eve is both in the column neighbour_vqa .* and in the column stranger_qa"):
        check_splits(Splits(FORGET, RETAIN, (), columns), "here")


def test_texts_are_about_everybody():
    splits = Splits(FORGET, RETAIN, (item("Ada"),), {"general_qa": (item("Ada"),)}, (item("Ada"),))
    assert check_splits(splits, "here") is splits


@pytest.mark.parametrize(
    ("one", "other"),
    [("José", "Jose\u0301"), ("Li Wei", "Li  Wei"), ("Ada ", "Ada"), ("Bob", "Bo\u200bb"), ("Ｘ", "X")],
)
@pytest.mark.parametrize("place", ["retain", "text", "background", "neighbour_vqa", "forget_qa"])
def test_names_that_look_the_same_are_one_or_an_error(one: str, other: str, place: str):
    items = (item("x"), item(other))
    sets = {place: items} if place in ("retain", "text", "background") else {"evaluation": {place: items}}
    with pytest.raises(DataError) as error:
        check_splits(replace(Splits((item(one),), (item("y"),), (), {}), **sets), "here")
    assert str(error.value).startswith(f"here: the names {one!a} (")
    assert f"and {other!a} (" in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (Example("1", "a", "\u200b", "yes"), "question"),
        (Example("1", "a", "?", " \ufeff"), "answer"),
        (Example("1", "\u2060", "?", "yes"), "entity"),
        (Example("1", "a", "?", "y", choices=("y", "\u3164")), r"choices\[1\]"),
        (Example("1", "a", "?", "y", perturbed=("\udc00",)), r"perturbed\[0\]"),
    ],
)
def test_items_of_any_loader_have_words(wrong: Example, field: str):
    with pytest.raises(DataError, match=rf"^here: general: 1: {field} is no text that can be read: '"):
        check_splits(Splits(FORGET, RETAIN, (), {"general": (wrong,)}), "here")


def test_a_limit_is_spread_over_the_entities():
    items = examples(3, 2)
    sample = sample_by_entity(items, 7)
    counts = [sum(item.entity == name for item in sample) for name in ("ann", "ben", "cat")]
    assert sorted(counts) == [2, 2, 3]
    assert sample == [item for item in items if item in sample]
    assert sample_by_entity(items, 0) == items


@given(forget=NAMES, retain=NAMES, data=st.data())
def test_other_entities_to_forget_move_every_item_by_its_entity(forget: list[str], retain: list[str], data: Any):
    retain = [f"{name}'" for name in retain]
    splits = Splits(
        tuple(item(n) for n in forget),
        tuple(item(n) for n in retain),
        (item("text"),),
        {
            "forget_vqa": tuple(item(n, q) for n in forget for q in "ab"),
            "retain_vqa": tuple(item(n, q) for n in retain for q in "ab"),
            "forget_qa": tuple(item(n, "c") for n in forget),
            "neighbour_vqa": (item("neighbour"),),
        },
    )
    everybody = [*forget, *retain]
    wanted = data.draw(st.lists(st.sampled_from(everybody), min_size=1, max_size=len(everybody) - 1, unique=True))
    others = forget_others(splits, wanted)
    assert {e.entity for e in others.forget} == {e.entity for e in others.evaluation["forget_vqa"]} == set(wanted)
    assert {e.entity for e in others.retain} == {e.entity for e in others.evaluation["retain_vqa"]}
    for column in ("forget_vqa", "retain_vqa"):
        assert not set(others.evaluation[column]) - {*splits.evaluation["forget_vqa"], *splits.evaluation["retain_vqa"]}
    # A column without its other half stays, as nothing could be moved to it or from it.
    assert others.evaluation["forget_qa"] == splits.evaluation["forget_qa"]
    assert (others.text, others.evaluation["neighbour_vqa"]) == (splits.text, splits.evaluation["neighbour_vqa"])
    assert forget_others(splits, forget) == splits
    assert set(forget_others(others, forget).forget) == set(splits.forget)


@pytest.mark.parametrize(
    ("entities", "message"),
    [(("c",), "c: no such entity to forget; known: a, b"), (("a", "b"), "all 2 entities are to be forgotten")],
)
def test_entities_that_cannot_be_forgotten_are_refused(entities: tuple[str, ...], message: str):
    with pytest.raises(DataError, match=message):
        forget_others(Splits((item("a"),), (item("b"),), (), {}), entities)
