"""Examples -> tensors: answer-only losses, and rows that share one image prefix."""

from mmunlearner.batches.batch import Answers, Batch, answers, block_mask, pack, pad
from mmunlearner.batches.inference import prompts, tree
from mmunlearner.batches.rows import Encoder, Row, common, common_prefix

__all__ = [
    "Answers",
    "Batch",
    "Encoder",
    "Row",
    "answers",
    "block_mask",
    "common",
    "common_prefix",
    "pack",
    "pad",
    "prompts",
    "tree",
]
