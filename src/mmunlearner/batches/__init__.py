"""Examples -> tensors -> answers: rows of tokens, batches that compute common prefixes once, and forward passes."""

from mmunlearner.batches.batch import Batch, ForwardInputs, pad, share_prefixes, tree
from mmunlearner.batches.encoder import Encoder
from mmunlearner.batches.fit import check_fit
from mmunlearner.batches.forward import Answers, answers, image_features
from mmunlearner.batches.micro_batch import MicroBatch, bucket_by_length, micro_batches
from mmunlearner.batches.padding import compatible_rows, pad_left, prompt_inputs
from mmunlearner.batches.prefix import can_share, rotary_positions
from mmunlearner.batches.rows import Row, common_prefix_length, shared_prompt_length

__all__ = [
    "Answers",
    "Batch",
    "Encoder",
    "ForwardInputs",
    "MicroBatch",
    "Row",
    "answers",
    "bucket_by_length",
    "can_share",
    "check_fit",
    "common_prefix_length",
    "compatible_rows",
    "image_features",
    "micro_batches",
    "pad",
    "pad_left",
    "prompt_inputs",
    "rotary_positions",
    "share_prefixes",
    "shared_prompt_length",
    "tree",
]
