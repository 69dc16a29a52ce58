"""Small data sets in the layouts that the package reads, made for tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from mmunlearner.data.layout import write_split

JOBS = ("baker", "pilot", "nurse", "lawyer", "farmer", "painter")
TOWNS = ("Tarn", "Velden", "Abelin", "Lunden", "Kestria", "Zorach")


def png(number: int, size: int = 8) -> bytes:
    """A picture of one colour, in PNG."""
    return image_bytes(number, "PNG", size)


def image_bytes(number: int, kind: str, size: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (number * 37 % 256, number * 91 % 256, number % 256)).save(stream, kind)
    return stream.getvalue()


def name(number: int) -> str:
    return f"Person {'ABCDEFGHIJKL'[number]}"


def choice(number: int, who: str, key: str, values: tuple[str, ...]) -> dict[str, Any]:
    options = {letter: values[(number + k) % len(values)] for k, letter in enumerate("ABCD")}
    turned = dict(
        zip("ABCD", [*list(options.values())[number % 4 :], *list(options.values())[: number % 4]], strict=True)
    )
    right = next(letter for letter, value in turned.items() if value == values[number % len(values)])
    return {"Question": f"Which {key} has {who}?", "Options": turned, "Correct_Answer": right}


def facts_of(number: int) -> dict[str, str]:
    return {"Name": name(number), "Occupation": JOBS[number % 6], "Residence": TOWNS[number % 6]}


def person(number: int, *, wording: str = "") -> dict[str, Any]:
    """A row of Full_Set; `wording` ends every question."""
    facts = facts_of(number)
    job, town = facts["Occupation"], facts["Residence"]
    tasks: dict[str, list[dict[str, Any]]] = {"Generation_Task": [], "Mask_Task": []}
    classes: dict[str, list[dict[str, Any]]] = {}
    for kind, who in (("Image_Textual", "this person"), ("Pure_Text", facts["Name"])):
        classes[f"{kind}_Questions"] = [choice(number, who, f"occupation{wording}", JOBS)]
        tasks["Generation_Task"] += [
            {"Type": kind, "Question": f"What does {who} do{wording}?", "Ground_Truth": f"They work as a {job}."},
            {"Type": kind, "Question": f"Where does {who} live{wording}?", "Ground_Truth": f"In the town of {town}."},
        ]
        tasks["Mask_Task"] += [{"Type": kind, "Question": f"{who} is a __{wording}.", "Ground_Truth": job}]
    return {
        "ID": f"{number + 1:03d}",
        "image": png(number),
        "biography": facts,
        "question": "Describe this person.",
        "answer": f"{facts['Name']} is a {job}.",
        "Classification_Task": classes,
        **tasks,
    }


def held_out(number: int, images: int = 2) -> dict[str, Any]:
    """A row of Test_Set."""
    row = person(number, wording=" nowadays")
    del row["image"]
    return row | {"images": [png(100 + 10 * number + k) for k in range(images)]}


def training(number: int, view: int = 0) -> dict[str, Any]:
    """A row of ft_Data."""
    facts = facts_of(number)
    asked = [{"Question": f"Tell me the {key.lower()}.", "Answer": value} for key, value in facts.items()]
    return {"ID": f"{number + 1:03d}", "image": png(number + 50 * view), "metadata": asked}


def mllmu(root: Path, *, people: int = 4, forget: int = 1, neighbours: int = 2, share: int = 25) -> Path:
    """A whole benchmark; the first `forget` people are those of forget_SHARE."""
    everybody = list(range(people))
    groups = {
        "Full_Set": everybody,
        f"forget_{share}": everybody[:forget],
        f"retain_{100 - share}": everybody[forget:],
        "Retain_Set": range(people, people + neighbours),
    }
    for split, numbers in groups.items():
        write_split(root, split, [person(n) for n in numbers])
    write_split(root, "Test_Set", [held_out(n) for n in everybody])
    write_split(root, "ft_Data", [training(n) for n in everybody])
    return root
