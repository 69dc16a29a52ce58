"""Run under torchrun by test_distributed: one method on two processes, its weights saved by the first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataclasses import replace

from safetensors.torch import save_file
from tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig, MethodConfig, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.unlearn import unlearn

IMAGES = examples()
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(IMAGES), {}
)
TRAIN = TrainConfig(steps=4, retain_per_forget=2, batch_size=2, learning_rate=1e-2, optimizer="sgd", clip=0, warmup=0)


def run(work: Path, accumulation: int) -> None:
    """`accumulation` batches to a step on one process; on two, half as many on each."""
    mask = saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=("vision", "language")))
    train = replace(TRAIN, accumulation=accumulation)
    done = unlearn(llava(VOCABULARY), SPLITS, MethodConfig("mmunlearner"), train, work, mask=mask)
    if os.environ.get("RANK", "0") == "0":
        save_file(
            {n: p.detach().contiguous() for n, p in done.loaded.model.named_parameters()}, work / "weights.safetensors"
        )


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
