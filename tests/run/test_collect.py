"""What results.json is given beside scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.tiny import examples

from mmunlearner.evaluate.scores import ItemScores
from mmunlearner.run.collect import _gallery

ITEMS = [
    replace(example, id=f"{number}/{example.id}", question=f"{number} {example.question}")
    for number in range(3)
    for example in examples(4, 1)
]


@dataclass
class Folder:
    path: Path


@given(st.sets(st.sampled_from([item.id for item in ITEMS])))
def test_the_gallery_shows_questions_that_vanilla_knew(tmp_path_factory, known: set[str]) -> None:
    lines = [{"id": item.id, "output": f"says {item.id}"} for item in ITEMS]
    scores = ItemScores({i.id: float(i.id in known) for i in ITEMS}, {i.id: i.entity for i in ITEMS})
    folder = Folder(tmp_path_factory.mktemp("gallery"))
    entries = _gallery(
        folder, {"forget_vqa": ITEMS}, {"vanilla": {"forget_vqa": lines}}, {"vanilla": {"forget_vqa": scores}}
    )
    open_items = [item for item in ITEMS if item.task == "generation"]
    assert [entry.entity for entry in entries] == list(dict.fromkeys(item.entity for item in open_items))
    for entry in entries:
        candidates = [item for item in open_items if item.entity == entry.entity]
        # The first known one, or the first of all, marked as not known.
        shown = next((item for item in candidates if item.id in known), candidates[0])
        assert entry.question == shown.question
        assert entry.answers == {"vanilla": f"says {shown.id}"}
        assert entry.correct == {"vanilla": shown.id in known}
        assert (folder.path / entry.image).is_file()
