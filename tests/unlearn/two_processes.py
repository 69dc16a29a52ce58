"""Run under torchrun by test_distributed: one method on two processes, its weights saved by the first."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dataclasses import replace

from safetensors.torch import save_file
from support.tiny import VOCABULARY, examples, llava

from mmunlearner import saliency
from mmunlearner.batches import Encoder
from mmunlearner.config import EvaluateConfig, MaskConfig, MethodConfig, Part, TrainConfig
from mmunlearner.data import Splits
from mmunlearner.unlearn import StopTarget, unlearn

IMAGES, TEXTS = examples(), examples(images=False)
SPLITS = Splits(
    tuple(e for e in IMAGES if e.entity == "ann"), tuple(e for e in IMAGES if e.entity != "ann"), tuple(TEXTS), {}
)
TRAIN = TrainConfig(
    steps=4, retain_per_forget=2, batch_size=2, learning_rate=1e-2, optimizer="sgd", clip=0, warmup=0, keep_text=True
)


def run(work: Path, parts: list[Part], options: dict[str, float], train: dict[str, Any]) -> None:
    """`train.accumulation` batches to a step on one process; on two, half as many on each.

    A first look, after `train.stop_every` forget steps, ends the run.
    """
    mask = saliency.compute(Encoder(llava(VOCABULARY)), SPLITS, MaskConfig(parts=tuple(parts)))
    config = replace(TRAIN, **train)
    asked = {"forget_vqa": SPLITS.forget}
    level = StopTarget(
        asked, {"forget_vqa": 1.0}, {"forget VQA": ["forget_vqa"]}, "oracle", EvaluateConfig(max_new_tokens=2)
    )
    method = MethodConfig("mmunlearner", options=options)
    done = unlearn(llava(VOCABULARY), SPLITS, method, config, work, mask=mask, stop_target=level)
    if done.steps != 2 * (config.stop_every or TRAIN.steps):
        raise SystemExit(f"{done.steps} steps were made")
    if os.environ.get("RANK", "0") == "0":
        save_file(
            {n: p.detach().contiguous() for n, p in done.loaded.model.named_parameters()}, work / "weights.safetensors"
        )


if __name__ == "__main__":
    run(Path(sys.argv[1]), *json.loads(sys.argv[2]))
