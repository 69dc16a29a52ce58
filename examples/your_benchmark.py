"""A benchmark of your own: one function that reads a folder and returns `Splits`.

    python -m mmunlearner mask --model DIR --out mask.safetensors --data.root FOLDER \\
        --data.format examples.your_benchmark:load --data.forget_entities Ada,Bob

It reads FOLDER/questions.csv with the columns image, entity, question, answer and split (`train` or `test`); an empty
image is a question about text alone. In a recipe: `data: {format: "examples.your_benchmark:load", root: FOLDER, ...}`.
"""

import csv
from pathlib import Path

from mmunlearner.data import Example, ImageRef, Splits
from mmunlearner.errors import DataError


def load(root: str, *, forget_entities: tuple[str, ...] = ()) -> Splits:
    """Read the folder. A loader takes any of `forget`, `forget_entities` and `seed` as keyword arguments.

    Raises:
        DataError: there is no such file, or nobody to forget is named.
    """
    path = Path(root) / "questions.csv"
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if not forget_entities:
        raise DataError("data.forget_entities: nobody to forget; name one or more entities")
    train: dict[str, list[Example]] = {"forget": [], "retain": [], "text": []}
    columns: dict[str, list[Example]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            images = (ImageRef(str(path.parent / row["image"])),) if row["image"] else ()
            example = Example(f"line {line}", row["entity"], row["question"], row["answer"], images)
            group = "forget" if row["entity"] in forget_entities else "retain"
            if row["split"] == "train":
                train[group if images else "text"].append(example)  # text protects what is known in words
            else:
                columns.setdefault(f"{group}_{'vqa' if images else 'qa'}", []).append(example)
    evaluation = {name: tuple(items) for name, items in columns.items()}
    return Splits(tuple(train["forget"]), tuple(train["retain"]), tuple(train["text"]), evaluation)
