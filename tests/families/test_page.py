"""The table of docs/families.md says what is seen here."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from families.questions import picture
from families.zoo import FAMILIES
from peft.tuners.lora import LoraLayer

from mmunlearner.batches import Encoder, answers, pad, share_prefixes
from mmunlearner.batches.prefix import obstacle
from mmunlearner.config import LoraConfig
from mmunlearner.models import Loaded, candidates
from mmunlearner.unlearn import Lora
from mmunlearner.unlearn.reference import VanillaNeeds, cache_reference

PARTS = ("vision", "projector", "language")
NEEDS = {"SmolVLM": "`num2words`"}


def line(name: str, loaded: Loaded) -> str:
    """What a family can do, as a row of the table."""
    encoder = Encoder(loaded)
    rows = [encoder.conversation("What colour is this?", answer, (picture(2),)) for answer in ("red", "blue")]
    reason = obstacle(rows, encoder)
    owners = set(candidates(loaded.model).values())
    reference = cache_reference(encoder, rows, VanillaNeeds(features=True))
    tensors = reference.of(rows, (), share_prefixes(rows, encoder).images).tensors
    several = [encoder.conversation("Who?", "red", (picture(2), picture(seed))) for seed in (1, 3)]
    with torch.no_grad():
        seen = answers(loaded.model, pad(several, encoder)).nll
    adapted = Lora(LoraConfig(rank=1)).wrap(loaded.model, [part for part in PARTS if part in owners]).model
    layers = sum(isinstance(module, LoraLayer) for module in adapted.modules())
    cells = (
        name,
        "no: " + re.sub(r"(\w+_\w+)", r"`\1`", reason) if reason else "yes",
        ", ".join(part for part in PARTS if part in owners),
        "yes" if seen[0] != seen[1] else "no",
        "yes" if layers > 10 else "no",
        "yes" if "features" in tensors else "no",
        NEEDS.get(name, ""),
    )
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def test_table(shelf, repository: Path) -> None:
    page = (repository / "docs" / "families.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"<!-- table -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert table.splitlines()[2:] == [line(name, shelf(name)()) for name in FAMILIES]
