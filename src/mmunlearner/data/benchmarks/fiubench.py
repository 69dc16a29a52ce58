"""FIUBench (Ma et al. 2024, arXiv 2411.03554): invented identities with a face and twenty questions each.

A folder with `full.json`, a list of identities, and `split.json`, the ids of `forget1`, `forget5` and `forget10`.
As published, the first 400 identities are used, and the retain set is who is in none of the forget sets. The evaluation
asks the trained questions again (forget_vqa, retain_vqa) and in other words (forget_vqa_test, retain_vqa_test). The
text set is what the metadata tell of whoever has a name there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mmunlearner.core.files import read_json, staged_dir
from mmunlearner.data.benchmarks.facts import NAME, spoken, texts
from mmunlearner.data.example import Example, ImageRef, Splits
from mmunlearner.data.schema import Cell, Text, fit
from mmunlearner.data.tables import read_table
from mmunlearner.errors import DataError

FULL, SPLIT = "full.json", "split.json"
PEOPLE = 400
"""Identities that the benchmark uses of its file."""

HINTS: Mapping[str, str] = {
    "conversations": "This is LLaVA's layout: use --data.format conversations",
    "messages": "These are chat rows: use --data.format chat",
}


class QuestionAnswer(TypedDict):
    question: Text
    answer: Text
    keywords: NotRequired[list[str] | None]
    paraphrased_question: NotRequired[Text | list[Text] | None]
    paraphrased_answer: NotRequired[Text | None]
    perturbed_answer: NotRequired[list[Text] | None]


class Identity(TypedDict):
    unique_id: Text
    image_path: ImageRef
    """Relative to the folder."""
    metadata: NotRequired[dict[str, object] | None]
    qa_list: list[QuestionAnswer]


def load(root: Path | str, *, forget: int = 5) -> Splits:
    """Read the benchmark for a forget set of 1, 5 or 10 per cent.

    Raises:
        DataError: a file is missing or not in the layout, or the forget set names somebody unknown.
    """
    root = Path(root)
    people = {row["unique_id"]: row for _, row in list(read_table(root / FULL, Identity, hints=HINTS))[:PEOPLE]}
    shares = fit(read_json(root / SPLIT), dict[str, list[str]], Cell(root / SPLIT, 1))
    chosen = _share(root, shares, f"forget{forget}", people)
    kept = sorted(set(people) - {entity for name, ids in shares.items() if name.startswith("forget") for entity in ids})
    columns = {
        f"{group}_vqa{suffix}": tuple(e for entity in ids for e in _asked(people[entity], suffix))
        for group, ids in (("forget", chosen), ("retain", kept))
        for suffix in ("", "_test")
    }
    return Splits(
        forget=tuple(e for entity in chosen for e in _trained(people[entity])),
        retain=tuple(e for entity in kept for e in _trained(people[entity])),
        text=tuple(text for entity in (*chosen, *kept) for text in _texts(people[entity])),
        evaluation={column: items for column, items in columns.items() if items},
    )


def write(root: Path | str, people: Sequence[Mapping[str, Any]], shares: Mapping[str, Sequence[str]]) -> Path:
    """Write a folder in this layout, whole or not at all; `image_path` is an `ImageRef` or encoded bytes.

    Raises:
        DataError: an identity does not fit the layout; names row and column.
    """
    root = Path(root)
    with staged_dir(root) as stage:
        (stage / "images").mkdir()
        rows = [_stored(person, stage, Cell(root / FULL, number)) for number, person in enumerate(people, 1)]
        for name, content in ((FULL, rows), (SPLIT, shares)):
            (stage / name).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    return root


def _stored(person: Mapping[str, Any], stage: Path, cell: Cell) -> dict[str, Any]:
    fitted: Any = fit(person, Identity, cell)
    image: ImageRef = fitted["image_path"]
    path = Path("images") / f"{fitted['unique_id']}.png"
    image.open().save(stage / path)
    return {**fitted, "image_path": path.as_posix()}


def _share(root: Path, shares: Mapping[str, Sequence[str]], name: str, people: Mapping[str, Any]) -> list[str]:
    """The people of one forget set.

    Raises:
        DataError: there is no such set, or one of it is not among the people.
    """
    if name not in shares:
        there = ", ".join(sorted(shares)) or "none"
        raise DataError(f"{root / SPLIT}: no set {name}; there are {there} (other shares: --data.forget)")
    if strange := [entity for entity in shares[name] if entity not in people]:
        raise DataError(f"{root / SPLIT}: {name} names {strange[0]}, who is not among the first {PEOPLE} of {FULL}")
    return list(shares[name])


def _trained(person: Identity) -> list[Example]:
    return [_example(person, k, pair["question"], "train") for k, pair in enumerate(person["qa_list"])]


def _asked(person: Identity, suffix: str) -> list[Example]:
    """The evaluation items: the questions themselves, or (`_test`) the same in other words, where there are some."""
    items = []
    for k, pair in enumerate(person["qa_list"]):
        other = pair.get("paraphrased_question") or []
        wordings = [pair["question"]] if not suffix else [other] if isinstance(other, str) else other
        items += [_example(person, k, question, f"eval{suffix}/{n}") for n, question in enumerate(wordings)]
    return items


def _example(person: Identity, number: int, question: str, use: str) -> Example:
    pair, entity = person["qa_list"][number], person["unique_id"]
    return Example(
        f"{use}/{entity}/{number}", entity, question, pair["answer"], (person["image_path"],),
        perturbed=tuple(pair.get("perturbed_answer") or ()), paraphrase=pair.get("paraphrased_answer") or "",
    )  # fmt: skip


def _texts(person: Identity) -> Iterable[Example]:
    known = dict(person.get("metadata") or {})
    named = [key for key in known if spoken(key) in ("name", "full name")]
    if named:
        known[NAME] = known.pop(named[0])
        yield from texts(person["unique_id"], known, f"text/{person['unique_id']}")
