from __future__ import annotations

from support.layouts import png

from mmunlearner.data import Example, ImageRef, entities_in_turn, group_by_image


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
