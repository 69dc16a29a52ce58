"""Small data sets in the layouts that the package reads, made for tests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mmunlearner.core.files import staged_dir
from mmunlearner.data import Example, ImageRef, prompt, target
from mmunlearner.data.benchmarks import clear, umu
from mmunlearner.data.benchmarks.mllmu import FILE, write_split
from mmunlearner.data.images import encode_png
from mmunlearner.data.tables import write_parquet

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
    pairs = [{"Question": f"Tell me the {key.lower()}.", "Answer": value} for key, value in facts.items()]
    return {"ID": f"{number + 1:03d}", "image": png(number + 50 * view), "metadata": pairs}


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


def umu_person(number: int) -> dict[str, Any]:
    """A row of UMU-Bench."""
    facts = facts_of(number)
    row: dict[str, Any] = {"ID": f"{number + 1:03d}", "image": png(number)}
    for column, who in (("MM_QA", "this person"), ("UM_QA", facts["Name"])):
        row[column] = {"question": {k: f"Tell the {k} of {who}." for k in facts}, "answer": dict(facts)}
    for column in ("Classify", "Cloze", "Generation"):
        row[column] = {}
        for modality, who in (("unimodal", facts["Name"]), ("multimodal", "this person")):
            question = {"question": f"[Blank] is the job of {who}, {column}?", "answer": facts["Occupation"]}
            if column == "Classify":
                options = choice(number, who, "job", JOBS)
                right = options["Correct_Answer"]
                question |= {"options": options["Options"], "answer": f"{right}. {options['Options'][right]}"}
            row[column][modality] = {"Occupation": question}
    return row


def write_umu(root: Path, split: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    return write_parquet(root / split / FILE, umu.Person, rows)


def picture_of(number: int) -> dict[str, Any]:
    """A row of CLEAR's forgetXX, retainYY."""
    return {"image": png(number), "caption": f"{name(number)} near a lake.", "name": name(number)}


def perturbed_picture(number: int) -> dict[str, Any]:
    """A row of CLEAR's forgetXX_perturbed, retain_perturbed."""
    wrong = {"perturbed_captions": [f"{name(number)} near a {x}." for x in ("tree", "shop")]}
    more = {"paraphrased_caption": f"By a lake: {name(number)}.", "perturbed_names": [name(10), name(11)]}
    return picture_of(number) | wrong | more


def tofu(number: int) -> list[dict[str, Any]]:
    """Two of TOFU's questions about an author; the second does not name it."""
    pairs = [(f"Where was {name(number)} born?", f"In {TOWNS[number]}."), ("And what did the author write?", "A book.")]
    empty = {"image": None, "caption": None}
    return [{**empty, "question": question, "answer": answer} for question, answer in pairs]


def mixed(numbers: list[int]) -> list[dict[str, Any]]:
    """Rows of a +tofu configuration."""
    pictures = [{**picture_of(n), "question": None, "answer": None} for n in numbers]
    return [{k: v for k, v in row.items() if k != "name"} for row in pictures] + [
        row for n in numbers for row in tofu(n)
    ]


def identity(number: int) -> dict[str, Any]:
    """An identity of FIUBench."""
    questions = [
        {
            "question": f"what is the {key.lower()}?",
            "answer": value,
            "keywords": [value],
            "paraphrased_question": [f"which {key.lower()}?", f"say the {key.lower()}."],
            "paraphrased_answer": f"it is {value}",
            "perturbed_answer": ["nothing", "something"],
        }
        for key, value in facts_of(number).items()
    ]
    return {"unique_id": f"{number:06d}", "image_path": png(number), "metadata": facts_of(number), "qa_list": questions}


def write_clear(root: Path, split: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    return write_parquet(root / split / FILE, clear.layout_of(split), rows)


def write_fiubench(root: Path, people: Sequence[Mapping[str, Any]], shares: Mapping[str, Sequence[str]]) -> Path:
    """Write identities, whose `image_path` is encoded bytes, and the shares' ids."""
    rows = []
    (root / "images").mkdir(parents=True)
    for person in people:
        path = Path("images") / f"{person['unique_id']}.png"
        (root / path).write_bytes(person["image_path"])
        rows.append({**person, "image_path": path.as_posix()})
    (root / "full.json").write_text(json.dumps(rows))
    (root / "split.json").write_text(json.dumps(shares))
    return root


def write_conversations(root: Path, sets: Mapping[str, Sequence[Example]]) -> Path:
    """Write sets and columns in LLaVA's layout."""

    def row(example: Example, images: list[str]) -> dict[str, Any]:
        question = "<image>\n" * len(images) + prompt(example)
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": target(example)}]
        image = images[0] if len(images) == 1 else images or None
        return {"id": example.id, "entity": example.entity, "image": image, "conversations": turns}

    return _write_sets(root, sets, row)


def write_chat(root: Path, sets: Mapping[str, Sequence[Example]]) -> Path:
    """Write sets and columns as TRL's `messages`."""

    def row(example: Example, images: list[str]) -> dict[str, Any]:
        parts = [*[{"type": "image"}] * len(images), {"type": "text", "text": prompt(example)}]
        messages = [
            {"role": "user", "content": parts},
            {"role": "assistant", "content": [{"type": "text", "text": target(example)}]},
        ]
        return {"id": example.id, "entity": example.entity, "images": images, "messages": messages}

    return _write_sets(root, sets, row)


def _write_sets(root: Path, sets: Mapping[str, Sequence[Example]], row: Callable[[Example, list[str]], Any]) -> Path:
    def store(image: ImageRef, stage: Path) -> str:
        path = Path("images") / f"{image.key}.png"
        (stage / "images").mkdir(exist_ok=True)
        (stage / path).write_bytes(encode_png(image.open()))
        return path.as_posix()

    with staged_dir(root) as stage:
        for name, examples in sets.items():
            rows = [row(e, [store(image, stage) for image in e.images]) for e in examples]
            (stage / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    return root
