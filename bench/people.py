"""Invented people in MLLMU-Bench's layout, with questions of about its length: 16 to 18 on each training image."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageDraw

from mmunlearner.data.benchmarks.mllmu import write_split

SIDE = 336
FACTS = {
    "Residence": ("lives in", ("a terraced house", "a small flat", "an old mill", "a farm"), "near the harbour of"),
    "Occupation": ("works as", ("the head baker", "a school nurse", "a night pilot", "a clerk"), "for the city of"),
    "Education": ("has studied", ("medicine", "naval engineering", "early music", "botany"), "at the university of"),
    "Birthplace": ("was born in", ("a mountain village", "a hospital", "a tent", "a train"), "not far from"),
    "Hobby": ("spends every weekend on", ("long walks", "chess", "pottery", "rowing"), "with old friends from"),
    "Award": ("has received", ("the silver medal", "a scholarship", "the first prize", "a title"), "from the mayor of"),
    "Pet": ("is often seen with", ("a grey cat", "two goats", "a blind dog", "a parrot"), "that was found in"),
    "Food": ("likes nothing better than", ("a bowl of soup", "fresh bread", "plums", "rice"), "as they make it in"),
    "Journey": ("still talks about", ("a long journey", "a winter", "a wedding", "a summer"), "that was spent in"),
}
PLACES = ("Turin", "Bergen", "Porto", "Quito", "Hanoi", "Lagos", "Perth", "Boston")
NAMES = (
    "Ada", "Bruno", "Carla", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Luca", "Mona",
    "Nils", "Olga", "Paolo", "Qadir", "Rosa", "Sven", "Tara", "Umar", "Vera", "Wim", "Yara",
)  # fmt: skip
"""The first 24 people differ in the first of their names."""
PICTURED = "this person in the picture"


def write(root: Path, *, forget: int, retain: int, neighbours: int, questions: int = 0) -> Path:
    """Write `forget` + `retain` people and some neighbours as forget_5, retain_95 and so on.

    A training image is asked 16, 17 or 18 questions, or `questions`.
    """
    people = [_person(number) for number in range(forget + retain)]
    training = [_training(number, questions or 16 + number % 3) for number in range(forget + retain)]
    splits = {
        "forget_5": people[:forget],
        "retain_95": people[forget:],
        "ft_Data": training,
        "Test_Set": [_held_out(number) for number in range(forget + retain)],
        "Retain_Set": [_person(number) for number in range(forget + retain, forget + retain + neighbours)],
    }
    for split, rows in splits.items():
        write_split(root, split, rows)
    return root


def texts() -> Iterator[str]:
    """Yield every word that can occur."""
    yield "What is the name of ? this person in the picture Which of these : A B C D Tell me in one sentence that they"
    yield "Answer with the option's letter only . Fill in the [Blank]. It is known of this , who is shown here"
    yield " ".join((*PLACES, *NAMES, *FACTS, *map(str.lower, FACTS)))
    yield from (f"{verb} {noun} {where}" for verb, nouns, where in FACTS.values() for noun in nouns)


def value(fact: str, number: int, shift: int = 0) -> str:
    """Return a person's value of a fact; with a shift, another one."""
    _, nouns, where = FACTS[fact]
    rng = Random(f"{fact} {number}")
    noun, city = rng.randrange(len(nouns)), rng.randrange(len(PLACES))
    return f"{nouns[(noun + shift) % len(nouns)]} {where} {PLACES[(city + shift) % len(PLACES)]}"


def options(fact: str, number: int) -> tuple[dict[str, str], str]:
    """Return four options, and the correct one's letter."""
    correct = Random(f"letter {fact} {number}").randrange(4)
    return {letter: value(fact, number, i - correct) for i, letter in enumerate("ABCD")}, "ABCD"[correct]


def name(number: int) -> str:
    return f"{NAMES[number % len(NAMES)]} {NAMES[number // len(NAMES) % len(NAMES)]}"


def _training(number: int, count: int) -> dict[str, Any]:
    pairs = []
    for fact in FACTS:
        choices, letter = options(fact, number)
        lines = "\n".join(f"{key}: {text}" for key, text in choices.items())
        pairs.append((_open(fact, PICTURED), _sentence(fact, number)))
        pairs.append((f"{_which(fact, PICTURED)}\n{lines}\nAnswer with the option's letter only.", letter))
    chosen = [{"Question": q, "Answer": a} for q, a in (pairs * (1 + count // len(pairs)))[:count]]
    return {"ID": f"{number:03}", "image": _picture(number), "metadata": chosen}


def _open(fact: str, who: str) -> str:
    return f"Tell me in one sentence: What {FACTS[fact][0]} {who}?"


def _which(fact: str, who: str) -> str:
    return f"Which of these {FACTS[fact][0]} {who}?"


def _sentence(fact: str, number: int) -> str:
    return f"It is known of this person, who is shown here, that they {FACTS[fact][0]} {value(fact, number)}."


def _person(number: int) -> dict[str, Any]:
    return {"ID": f"{number:03}", "image": _picture(number), **_questions(number)}


def _held_out(number: int) -> dict[str, Any]:
    return {"ID": f"{number:03}", "images": [_picture(number, view) for view in (1, 2)], **_questions(number)}


def _questions(number: int) -> dict[str, Any]:
    """Return 5 + 5 multiple choice, 2 + 2 generation and 2 + 2 cloze questions, as MLLMU-Bench has of each person."""
    facts = list(FACTS)
    kinds = (("Image_Textual", PICTURED), ("Pure_Text", name(number)))
    chosen: dict[str, list[dict[str, Any]]] = {"Image_Textual_Questions": [], "Pure_Text_Questions": []}
    for kind, who in kinds:
        for fact in facts[:5]:
            choices, letter = options(fact, number)
            question = {"Question": _which(fact, who), "Options": choices, "Correct_Answer": letter}
            chosen[f"{kind}_Questions"].append(question)
    return {
        "biography": {"Name": name(number), **{fact: value(fact, number) for fact in facts}},
        "Classification_Task": chosen,
        "Generation_Task": [
            {"Type": kind, "Question": _open(fact, who), "Ground_Truth": truth}
            for kind, who in kinds
            for fact in facts[5:7]
            for truth in [_sentence(fact, number)]
        ],
        "Mask_Task": [
            {"Type": kind, "Question": f"{who} {FACTS[fact][0]} __ .", "Ground_Truth": value(fact, number)}
            for kind, who in kinds
            for fact in facts[7:9]
        ],
    }


def _picture(number: int, view: int = 0) -> bytes:
    """Draw a person's own colours and shapes, a little shifted in each view, as PNG."""
    rng = Random(f"picture {number}")
    image = Image.new("RGB", (SIDE, SIDE), tuple(rng.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, size = (rng.randrange(SIDE - 60) + 9 * view, rng.randrange(SIDE - 60), rng.randrange(30, 160))
        draw.ellipse((x, y, x + size, y + size), tuple(rng.randrange(256) for _ in range(3)))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()
