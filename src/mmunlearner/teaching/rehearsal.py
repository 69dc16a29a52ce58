"""Rehearsal: a language model keeps to what it said before, on texts that it wrote itself, while it learns new facts.

Shapes: T tokens, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mmunlearner.batches import Answers, Encoder, Row, answers, pad
from mmunlearner.batches.padding import prompt_inputs
from mmunlearner.core.progress import Progress
from mmunlearner.models import input_device, load
from mmunlearner.teaching.plain import BEGINNINGS, HELD_OUT, HELD_OUT_QUESTIONS, QUESTIONS

TOKENS = 40
"""Most tokens of a text that the model writes."""
TEXTS = 24
"""Texts that are written or read at once."""


@dataclass(frozen=True)
class Memory:
    """A text that the pretrained model wrote, and its hidden states on the way."""

    row: Row
    hidden: Tensor
    """float32 [T, D]: the last decoder layer's output where each token is predicted."""


@contextmanager
def bfloat16(model: nn.Module) -> Iterator[None]:
    """Compute in bfloat16 within the block, with the weights as they are."""
    with torch.autocast(input_device(model).type, torch.bfloat16):
        yield


def predictions(encoder: Encoder, rows: Sequence[Row], layers: Sequence[int] = ()) -> Answers:
    """Return the model's answers to texts, each in a sequence of its own, in bfloat16."""
    model = encoder.loaded.model
    with bfloat16(model):
        return answers(model, pad(rows, encoder).to(input_device(model)), layers)


def remember(encoder: Encoder, seed: int, progress: Progress = Progress()) -> list[Memory]:
    """Let the model answer plain questions and go on with beginnings, by sampling; return what it wrote and thought."""
    prompts = [encoder.prompt(question, ()) for question in QUESTIONS] + [_beginning(encoder, b) for b in BEGINNINGS]
    memories: list[Memory] = []
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        for start in range(0, len(prompts), TEXTS):
            chunk = prompts[start : start + TEXTS]
            rows = [row for row in _continued(encoder, chunk, do_sample=True, top_k=0, top_p=0.95) if row.answer]
            memories += _with_hidden(encoder, rows)
            progress.update("text", min(start + TEXTS, len(prompts)), len(prompts))
    return memories


def _beginning(encoder: Encoder, text: str) -> Row:
    ids = tuple(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])
    return Row(ids, len(ids))


def _continued(encoder: Encoder, prompts: Sequence[Row], **options: Any) -> list[Row]:
    model: Any = encoder.loaded.model
    inputs = {name: values.to(input_device(model)) for name, values in prompt_inputs(prompts, encoder).items()}
    with bfloat16(model):
        written = model.generate(**inputs, max_new_tokens=TOKENS, **options)[:, inputs["input_ids"].shape[1] :]
    rows: list[Row] = []
    for prompt, ids in zip(prompts, written.tolist(), strict=True):
        end = next((i + 1 for i, token in enumerate(ids) if token in encoder.ends), len(ids))
        rows.append(encoder.extend(prompt, ids[:end]))
    return rows


def _with_hidden(encoder: Encoder, rows: Sequence[Row]) -> list[Memory]:
    layer = encoder.loaded.model.config.get_text_config().num_hidden_layers - 1
    of_rows = predictions(encoder, rows, [layer])
    hidden = of_rows.hidden[layer].float().split([len(row.answer) for row in rows])
    # Copies, as tensors of inference mode may not take part in training.
    return [Memory(row, states.cpu().clone()) for row, states in zip(rows, hidden, strict=True)]


def drift(encoder: Encoder, memories: Sequence[Memory]) -> Tensor:
    """Return KL(before || now), the mean over tokens of texts that it wrote before; norm and head must be frozen.

    Hinton, Vinyals and Dean 2015 (arXiv 1503.02531), with the model's own past as the teacher.
    """
    model: Any = encoder.loaded.model
    now = predictions(encoder, [memory.row for memory in memories])
    with torch.no_grad():
        hidden = torch.cat([memory.hidden for memory in memories]).to(now.logits.device)
        before = model.lm_head(model.get_decoder().norm(hidden)).log_softmax(-1)
    return nn.functional.kl_div(now.logits.log_softmax(-1), before, reduction="batchmean", log_target=True)


def plain_abilities(source: str, device: str) -> tuple[float, dict[str, str]]:
    """Return a model's perplexity on plain English, and its answers to plain questions.

    Raises:
        ModelError: there is no such model.
    """
    encoder = Encoder(load(source, device=device))
    return perplexity(encoder), conversation(encoder)


@torch.inference_mode()
def perplexity(encoder: Encoder, texts: Sequence[str] = HELD_OUT) -> float:
    """Return exp of the mean cross-entropy over the tokens of plain texts, each read from its second token on."""
    encoder.loaded.model.eval()
    rows = [replace(_beginning(encoder, text), answer_start=1) for text in texts]
    return float(predictions(encoder, rows).logps.mean().neg().exp())


@torch.inference_mode()
def conversation(encoder: Encoder, questions: Sequence[str] = HELD_OUT_QUESTIONS) -> dict[str, str]:
    """Return question -> the model's greedy answer."""
    encoder.loaded.model.eval()
    rows = _continued(encoder, [encoder.prompt(question, ()) for question in questions])
    texts = encoder.tokenizer.batch_decode([row.answer for row in rows], skip_special_tokens=True)
    return dict(zip(questions, (text.strip() for text in texts), strict=True))
