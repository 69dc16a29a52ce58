"""Which passes over which data sets the masks of a run take: one for all masks that are cut from the same squares."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from safetensors import safe_open
from torch import Tensor

from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig, Part
from mmunlearner.core.files import write_tensors
from mmunlearner.data import Example, Splits
from mmunlearner.errors import DataError
from mmunlearner.saliency.fisher import Fisher, Progress, Unit, candidate_names, squared_gradients, units

DataSet = Literal["retain", "forget", "text"]
"""The longest first, so that no worker is left with it at the end."""
FORMAT = "mmunlearner-squares-1"


@dataclass(frozen=True)
class Pass:
    """One pass over one data set, for the candidates of `parts`."""

    data: DataSet
    unit: Unit
    limit: int
    parts: tuple[Part, ...]
    batch: int = 1
    """Questions of a batch, where that is the unit."""

    @property
    def name(self) -> str:
        """The same whatever the parts: in a run there is one pass of a name."""
        return f"{self.data}-{self.unit}{self.batch if self.unit == 'batch' else ''}-{self.limit}"

    def groups(self, splits: Splits) -> list[list[Example]]:
        """The units whose gradients are squared.

        Raises:
            DataError: the set is empty.
        """
        examples: Iterable[Example] = getattr(splits, self.data)
        if not examples:
            raise DataError(f"mask: the {self.data} set is empty")
        return units(list(examples), self.unit, self.limit, self.batch)

    def measure(
        self,
        encoder: Encoder,
        splits: Splits,
        *,
        progress: Progress = lambda groups, _: groups,
        checkpoint: Path | None = None,
    ) -> Fisher:
        """The squares at the model's present weights.

        Raises:
            DataError: the set is empty.
            TrainingError: a loss is not finite.
        """
        names = candidate_names(encoder.loaded.model, self.parts)
        title = f"saliency, {self.data}"
        return squared_gradients(
            encoder, self.groups(splits), names, progress=progress, title=title, checkpoint=checkpoint
        )


def passes(masks: Iterable[MaskConfig]) -> list[Pass]:
    """What is to be measured for these masks: beta and the random control take no pass of their own.

    The text-only QA protects the language part alone (method step 3), so that only its squares are taken there.
    """
    wanted: dict[tuple[DataSet, Unit, int, int], set[Part]] = {}
    for mask in masks:
        batch = mask.batch if mask.unit == "batch" else 1
        for data in get_args(DataSet):
            parts = set(mask.parts) & ({"language"} if data == "text" else set(get_args(Part)))
            if parts:
                wanted.setdefault((data, mask.unit, mask.limit, batch), set()).update(parts)
    return [
        Pass(data, unit, limit, tuple(part for part in get_args(Part) if part in parts), batch)
        for (data, unit, limit, batch), parts in wanted.items()
    ]


def keep(measured: Fisher, path: Path, cost: Mapping[str, float]) -> Path:
    """Write squares and what they cost to `path` (safetensors, fp32)."""
    info = {"units": measured.units, "cost": dict(cost)}
    return write_tensors(path, measured.squares, {FORMAT: json.dumps(info)})


def kept(path: Path) -> tuple[Fisher, dict[str, Any]]:
    """Squares that `keep` wrote, each read when it is asked for, and what they cost."""
    with safe_open(path, framework="pt") as file:
        info = json.loads(file.metadata()[FORMAT])
        return Fisher(_Kept(path, tuple(file.keys())), info["units"]), info["cost"]


@dataclass(frozen=True)
class _Kept(Mapping[str, Tensor]):
    """The tensors of a file, one in memory at a time."""

    path: Path
    names: tuple[str, ...]

    def __getitem__(self, name: str) -> Tensor:
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names
