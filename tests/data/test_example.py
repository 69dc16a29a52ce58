from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from support.layouts import png

from mmunlearner.data import Example, ImageRef, entities_in_turn, group_by_image, prompt, target
from mmunlearner.errors import DataError


def stored(image: Image.Image, **options: object) -> ImageRef:
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return ImageRef("x", stream.getvalue())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "RGB"])
def test_what_is_transparent_is_white(mode: str):
    clear = mode in ("RGBA", "LA", "P")
    colour: object = {"RGBA": (9, 9, 9, 0), "LA": (9, 0), "P": 0, "RGB": (9, 9, 9)}.get(mode, 0)
    image = Image.new(mode, (2, 2), colour)  # type: ignore[arg-type]
    options = {"transparency": bytes([0, 255])} if mode == "P" else {}
    if mode == "P":
        image.putpalette([9, 9, 9, 1, 1, 1])
    shown = stored(image, **options).open()
    assert shown.mode == "RGB"
    assert shown.getpixel((0, 0)) == ((255,) * 3 if clear else (9, 9, 9) if mode == "RGB" else (0, 0, 0))


def test_half_transparent_pixels_are_half_white():
    shown = stored(Image.new("RGBA", (1, 1), (255, 0, 0, 128))).open().getpixel((0, 0))
    assert shown == (255, 127, 127)


def test_a_broken_image_is_named():
    with pytest.raises(DataError, match="image Full_Set, row 3: cannot be decoded"):
        ImageRef("Full_Set, row 3", png(1)[:30]).open()
    with pytest.raises(DataError, match=r"image gone\.png: no such file"):
        ImageRef("gone.png").open()


def test_equal_bytes_have_one_key(tmp_path: Path):
    (tmp_path / "c.png").write_bytes(png(1))
    assert ImageRef(str(tmp_path / "c.png")).key == ImageRef("a", png(1)).key
    assert ImageRef("gone.png").key == "gone.png"
    assert ImageRef("a", png(1)).key == ImageRef("b", png(1)).key != ImageRef("a", png(2)).key


def test_prompts_by_the_benchmarks_rules():
    choice = Example("1", "a", "Which?", "two", task="multiple_choice", choices=("one", "two"))
    assert prompt(choice) == "Which?\nA: one\nB: two\nAnswer with the option's letter only."
    assert target(choice) == "B"
    cloze = Example("1", "a", "It is __ now.", "late", task="cloze")
    assert (prompt(cloze), target(cloze)) == ("It is [Blank] now.\nFill in the [Blank].", "late")
    assert (prompt(Example("1", "a", "Q?", "A")), target(Example("1", "a", "Q?", "A"))) == ("Q?", "A")


def about(entity: str, *images: ImageRef) -> Example:
    return Example("", entity, "?", "!", images)


def test_questions_about_the_same_images_are_grouped():
    a, same, b = ImageRef("a", png(1)), ImageRef("copy of a", png(1)), ImageRef("b", png(2))
    examples = [about("ann", a), about("bob"), about("bob", b), about("ben", same), about("bob"), about("ann", a, b)]
    groups = group_by_image([*examples, about("ann", b, a), about("ann")])
    assert [[example.entity for example in group] for group in groups] == [
        ["ann", "ben"], ["bob", "bob"], ["bob"], ["ann"], ["ann"], ["ann"],
    ]  # fmt: skip


def test_entities_have_their_turn():
    groups = [[about("ann")], [about("ann"), about("bob")], [about("bob")], [about("ann")], [about("cy")]]
    first, second, third, fourth, fifth = groups
    assert entities_in_turn(groups) == [first, third, fifth, second, fourth]
    assert entities_in_turn([]) == []
