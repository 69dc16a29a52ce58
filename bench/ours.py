"""The same work done by the package, by the functions that its commands call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmunlearner import saliency as saliency_room
from mmunlearner.batches import Encoder, answers, share_prefixes
from mmunlearner.config import EvaluateConfig, MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.files import discard
from mmunlearner.data import Example, Splits
from mmunlearner.evaluate import evaluate_model, read_columns
from mmunlearner.models import Loaded
from mmunlearner.unlearn import unlearn

MASK = MaskConfig(parts=("vision", "projector", "language"), beta=1.0, limit=0)
RUN_MASK = MaskConfig(beta=1.0, limit=1)
"""Of a full run: the image to forget and one to keep."""
RUN = TrainConfig(
    learning_rate=1.3e-4, steps=8, retain_per_forget=1, batch_size=2, questions=3, augment="forget", save_every=1000
)
RUN_OPTIONS = {"bound": 4.0, "anchor": 100.0, "retain_weight": 0.0}
"""Tuned on three people; the one of the measurement is not among them. What the image features hold, the language model
is not run for."""


def saliency(loaded: Loaded, splits: Splits, path: Path, config: MaskConfig = MASK) -> None:
    """Write the mask of all parts by way of squares on disk, as a run makes it."""
    store = path.with_suffix(".squares")
    saliency_room.compute(Encoder(loaded), splits, config, store=store).save(path)
    discard(store)


def gradients(loaded: Loaded, group: Sequence[Example]) -> float:
    """Leave the gradient of the mean loss over an image's questions in `.grad`; return the loss."""
    loaded.model.zero_grad()
    loss = answers(loaded.model, share_prefixes(Encoder(loaded).rows(group), Encoder(loaded))).nll.mean()
    loss.backward()
    return loss.item()


def epoch(loaded: Loaded, splits: Splits, mask: Path) -> int:
    """Train on every image of both sets once, with all of its questions; return how many questions."""
    forget, retain = (len(saliency_room.fisher_groups(s, "image")) for s in (splits.forget, splits.retain))
    config = TrainConfig(
        learning_rate=1e-5, steps=forget, retain_per_forget=retain // forget, batch_size=1, questions=99, clip=1.0,
        weight_decay=0.01, free="all", save_every=1000,
    )  # fmt: skip
    unlearn(loaded, splits, MethodConfig(), config, mask.with_suffix(".work"), mask=saliency_room.load(mask))
    return len(splits.forget) + len(splits.retain)


def full_run(loaded: Loaded, splits: Splits, path: Path) -> int:
    """Make a mask and unlearn with a little of the retain set (vision variant); return how many forget steps."""
    saliency(loaded, splits, path, RUN_MASK)
    method = MethodConfig(options=RUN_OPTIONS)
    unlearn(loaded, splits, method, RUN, path.with_suffix(".work"), mask=saliency_room.load(path))
    return RUN.steps


def evaluation(
    loaded: Loaded, splits: Splits, folder: Path, *, candidates: bool
) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Ask every item of every column; with `candidates` score them too, which the published procedure does not."""
    config = EvaluateConfig(max_new_tokens=50, candidates=candidates)
    evaluate_model(loaded, splits.evaluation, folder, config=config)
    return read_columns(folder)
