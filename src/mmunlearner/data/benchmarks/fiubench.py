"""FIUBench (Ma et al. 2024, arXiv 2411.03554): invented identities with a face and twenty questions each.

A folder with `full.json`, a list of identities, and `split.json`, the ids of `forget1`, `forget5` and `forget10`.
As published, the first 400 identities are used, and the retain set holds the identities that are in no forget set. The
evaluation asks the trained questions again (forget_vqa, retain_vqa) and in other words (forget_vqa_test,
retain_vqa_test). The text set asks for the metadata of each identity that has a name in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

from mmunlearner.core.files import read_json
from mmunlearner.core.validation import Name, Text, one_line
from mmunlearner.data.benchmarks.person_rows import NAME, fact_questions, phrase
from mmunlearner.data.example import Example, Splits
from mmunlearner.data.images import ImageRef
from mmunlearner.data.splits import check_splits
from mmunlearner.data.tables import Cell, check, read_table
from mmunlearner.errors import DataError

FULL, SPLIT = "full.json", "split.json"
PEOPLE = 400
"""Number of identities that the benchmark uses, from the beginning of its file."""


class QuestionAnswer(TypedDict):
    question: Text
    answer: Text
    keywords: NotRequired[list[str] | None]
    paraphrased_question: NotRequired[Text | list[Text] | None]
    paraphrased_answer: NotRequired[Text | None]
    perturbed_answer: NotRequired[list[Text] | None]


class Identity(TypedDict):
    unique_id: Name
    image_path: ImageRef
    """Relative to the folder."""
    metadata: NotRequired[dict[str, object] | None]
    qa_list: list[QuestionAnswer]


def load(root: Path | str, *, forget: int = 5) -> Splits:
    """Load the benchmark for a forget set of 1, 5 or 10 per cent.

    Raises:
        DataError: a file is missing or not in the layout, or the forget set has an id that is not among the identities.
    """
    root = Path(root)
    people = {row["unique_id"]: row for _, row in list(read_table(root / FULL, Identity))[:PEOPLE]}
    shares = check(read_json(root / SPLIT), dict[str, list[Name]], Cell(root / SPLIT, 1))
    if (name := f"forget{forget}") not in shares:
        names = ", ".join(sorted(shares)) or "none"
        raise DataError(f"{root / SPLIT}: no set {name}; there are {one_line(names)} (other shares: --data.forget)")
    forgotten = shares[name]
    if unknown := [entity for entity in forgotten if entity not in people]:
        raise DataError(
            f"{root / SPLIT}: {name} names {one_line(unknown[0])}, who is not among the first {PEOPLE} of {FULL}"
        )
    # As published, the retain set is the same for each share: the identities that are in no forget set.
    in_any_share = {entity for name, ids in shares.items() if name.startswith("forget") for entity in ids}
    retained = sorted(set(people) - in_any_share)
    columns = {
        f"{group}_vqa{suffix}": tuple(e for entity in ids for e in _evaluation(people[entity], suffix))
        for group, ids in (("forget", forgotten), ("retain", retained))
        for suffix in ("", "_test")
    }
    text: list[Example] = []
    for entity in (*forgotten, *retained):
        metadata = dict(people[entity].get("metadata") or {})
        # A question in words needs a name to call the person by.
        if names := [key for key in metadata if phrase(key) in ("name", "full name")]:
            metadata[NAME] = metadata.pop(names[0])
            text += fact_questions(entity, metadata, f"text/{entity}")
    splits = Splits(
        forget=tuple(e for entity in forgotten for e in _training(people[entity])),
        retain=tuple(e for entity in retained for e in _training(people[entity])),
        text=tuple(text),
        evaluation={column: items for column, items in columns.items() if items},
    )
    return check_splits(splits, str(root))


def _training(person: Identity) -> list[Example]:
    return [_example(person, k, pair["question"], "train") for k, pair in enumerate(person["qa_list"])]


def _evaluation(person: Identity, suffix: str) -> list[Example]:
    """Return the evaluation items: the questions themselves, or with suffix `_test` their paraphrases, if any."""
    items = []
    for k, pair in enumerate(person["qa_list"]):
        # A single paraphrase may be given without a list.
        paraphrases = pair.get("paraphrased_question") or []
        paraphrases = [paraphrases] if isinstance(paraphrases, str) else paraphrases
        wordings = paraphrases if suffix else [pair["question"]]
        items += [_example(person, k, question, f"eval{suffix}/{n}") for n, question in enumerate(wordings)]
    return items


def _example(person: Identity, number: int, question: str, use: str) -> Example:
    pair, entity = person["qa_list"][number], person["unique_id"]
    return Example(
        f"{use}/{entity}/{number}", entity, question, pair["answer"], (person["image_path"],),
        perturbed=tuple(pair.get("perturbed_answer") or ()), paraphrase=pair.get("paraphrased_answer") or "",
    )  # fmt: skip
