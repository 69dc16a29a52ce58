from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.layouts import png

from mmunlearner.data import Example, ImageRef, Splits
from mmunlearner.data.image_checks import check_images, image_mark
from mmunlearner.data.splits import check_splits
from mmunlearner.errors import DataError

MARKS = (
    "<image>", "<|image|>", "<|image_pad|>", "<|vision_start|>", "<start_of_image>", "<image_soft_token>",
    "<|image_1|>", "<IMG_CONTEXT>", "<ImageHere>", "<image-placeholder>", "<img>", "[IMG]", "[IMG_END]",
    "<|begin_of_image|>", "<fake_token_around_image>",
)  # fmt: skip
marks = st.sampled_from(MARKS)
words = st.text(st.characters(categories=["L", "Nd"]), min_size=1)


@given(marks, words, words)
def test_a_mark_in_the_place_of_an_image_is_found(mark: str, before: str, after: str):
    assert image_mark(f"{mark}{after}") == image_mark(f" {mark}\n{after}") == image_mark(f"{before}\n{mark} ") == mark
    assert image_mark(f"{before} {mark} {after}") == image_mark(f"{before} {mark}") == ""


def test_the_mark_of_qwen_holds_a_file():
    assert image_mark("Picture 1: <img>ada.png</img>\nWho?") == "<img>ada.png</img>"


@given(st.text(st.characters(exclude_characters="<[")))
def test_texts_without_brackets_have_no_mark(text: str):
    assert image_mark(text) == ""


@pytest.mark.parametrize("text", ["<b>bold</b>", "<table>", "a < image > b", "[1] image", "<imagine", "(image) of"])
def test_other_brackets_are_words(text: str):
    assert image_mark(text) == ""


A, B = ImageRef("a.png", png(1)), ImageRef("b.png", png(2))


def splits(forget: list[tuple[ImageRef, ...]], retain: list[tuple[ImageRef, ...]], question: str = "Who?") -> Splits:
    sets = [
        tuple(Example(f"{name}/{k}", f"{name} {k}", question, "x", images) for k, images in enumerate(images_of))
        for name, images_of in (("forget", forget), ("retain", retain))
    ]
    return Splits(sets[0], sets[1], (), {"forget_vqa": sets[0]})


@pytest.mark.parametrize("mark", MARKS)
def test_no_format_may_have_marks(mark: str):
    with pytest.raises(DataError, match="x: forget: forget/0: the question has .* in the place of an image; leave"):
        check_splits(splits([(A,)], [(B,)], f"{mark}\nWho?"), "x")


@pytest.mark.parametrize(("column", "images"), [("forget_vqa", ()), ("neighbour_qa", (A,)), ("retain_vqa_test", ())])
def test_a_column_is_what_its_name_says(column: str, images: tuple[ImageRef, ...]):
    right = Example("right", "c", "Who?", "x", () if images else (A,))
    wrong = Example("wrong", "d", "Who?", "x", images)
    base = splits([(A,)], [(B,)])
    check_splits(replace(base, evaluation={column: (wrong, right)}), "x")
    with pytest.raises(DataError, match=rf"x: the column {column}: (no|every) question of it has an image \(wrong"):
        check_splits(replace(base, evaluation={column: (wrong,)}), "x")


def test_a_visual_run_has_images_to_forget_and_to_keep(caplog: pytest.LogCaptureFixture):
    for forget, retain, name in (([()], [(B,)], "forget"), ([(A,)], [()], "retain")):
        with pytest.raises(DataError, match=f"x: no question of the {name} set has an image, but the goal is visual"):
            check_images(splits(forget, retain), "x")
    check_images(splits([(A,)], [(B,), ()]), "x")
    assert not caplog.records
    check_images(splits([(A,), ()], [(B,)]), "x")
    assert "1 of the 2 questions to forget have no image (forget/1)" in caplog.text


def test_an_image_in_two_sets_is_told(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        check_splits(splits([(A,)], [(B,)]), "x")
        assert not caplog.records
        check_splits(splits([(A,)], [(B, ImageRef("copy.png", png(1)))]), "x")
    assert "an image to forget is also in the retain set" in caplog.text
    assert "a.png; questions to forget about such images: 1" in caplog.text
