"""Print a training run's estimated and measured peak in bytes: `python -m support.measure_memory PARTS`, in `tests`."""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

from support.tiny import VOCABULARY, examples, llava

from mmunlearner.batches import Encoder
from mmunlearner.config import MaskConfig, MethodConfig, TrainConfig
from mmunlearner.core.cost import measured
from mmunlearner.data import Splits
from mmunlearner.run.memory import ForwardSize, patches, sizes, training
from mmunlearner.saliency import Mask, compute
from mmunlearner.unlearn import unlearn
from mmunlearner.unlearn.sampler import StepSampler


def main(parts: list[str], width: int) -> None:
    """Three steps of MMUnlearner on these parts."""
    config = TrainConfig(steps=2, batch_size=6, questions=3, retain_per_forget=1)
    forget, retain = examples(2, 3), examples(6, 3)[18:]
    splits = Splits(tuple(forget), tuple(retain), tuple(examples(6, 1, images=False)), {})
    method = MethodConfig(mask=MaskConfig(parts=tuple(parts), limit=2))  # pyright: ignore[reportArgumentType]
    _run(splits, method, config, 32)  # what libraries take at their first use is not the model's
    gc.collect()
    with measured() as before:
        pass
    size, load, cost = _run(splits, method, config, width)
    needed = training(size, load, config, parts=parts, masked=True)  # pyright: ignore[reportArgumentType]
    print(needed.total, cost - before.peak_memory_bytes)


def _run(splits: Splits, method: MethodConfig, config: TrainConfig, width: int):
    loaded = llava(VOCABULARY, width=width)
    encoder = Encoder(loaded)
    mask: Mask = compute(encoder, splits, method.mask or MaskConfig())
    gc.collect()
    size = sizes(loaded.model)
    steps = StepSampler.of(splits.forget, splits.retain, config, 0)
    from mmunlearner.batches import share_prefixes

    batch = max(
        (share_prefixes(encoder.rows(e), encoder) for e in (steps[0].forget, steps[0].retain) if e),
        key=lambda b: b.size,
    )
    images = sum(map(len, batch.images))
    load = ForwardSize(batch.size, images * patches(loaded.model, 4), len(batch.tokens))
    with tempfile.TemporaryDirectory() as work, measured() as cost:
        unlearn(loaded, splits, method, config, Path(work), mask=mask)
    return size, load, cost.peak_memory_bytes


if __name__ == "__main__":
    main(sys.argv[1].split(","), 768)
