"""Examples -> tensors: answer-only losses, and rows that share one image prefix."""

from mmunlearner.batches.batch import Answers, Batch, Pass, answers, pack, pad, shown
from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.inference import prompts, tree
from mmunlearner.batches.micro_batches import Piece, fill, within
from mmunlearner.batches.padding import alike, left
from mmunlearner.batches.prefix import may_share, rotary
from mmunlearner.batches.rows import Row, common, common_prefix

__all__ = [
    "Answers",
    "Batch",
    "Encoder",
    "Pass",
    "Piece",
    "Row",
    "alike",
    "answers",
    "common",
    "common_prefix",
    "fill",
    "left",
    "may_share",
    "pack",
    "pad",
    "prompts",
    "rotary",
    "shown",
    "tree",
    "within",
]
