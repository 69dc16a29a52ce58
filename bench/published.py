"""The published procedure, written plainly: batches of four padded questions, each with its own copy of the image, a
pass per part and data set, two dictionaries of gradients, AdamW over everything, one question at a time.

Where it departs from the released code, it does so to compute the same numbers as ours, never to cost more: squares are
taken of an image's mean gradient rather than of each batch's, the model is in eval mode, numbers are fp32, the masks of
both parts are made before the unlearning, and an answer's loss is the mean over its own tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmunlearner.batches import Encoder, Row
from mmunlearner.data import Example, Splits
from mmunlearner.data.prompts import item_fields
from mmunlearner.models import Loaded
from mmunlearner.saliency import fisher_groups
from mmunlearner.saliency.fisher import candidate_names

BATCH = 4
BETA, EPS = 1.0, 1e-15
PARTS = (("vision", "projector"), ("language",))
NEW_TOKENS = 50
EPOCHS = 4
RATE = 1e-4
"""Of a full run: of 4e-5, 7e-5 and 1e-4, tried on another person, what forgets soonest. Published: 1e-5, at seven
billion weights."""


def saliency(loaded: Loaded, splits: Splits, path: Path, parts: Sequence[Sequence[str]] = PARTS) -> None:
    """Write the mask and both gradients, each as large as the weights, to one file."""
    forget: dict[str, Tensor] = {}
    preserve: dict[str, Tensor] = {}
    for part in parts:
        names = candidate_names(loaded.model, part)
        preserved = [splits.retain, splits.text] if "language" in part else [splits.retain]
        forget |= squares(loaded, [splits.forget], names)
        preserve |= squares(loaded, preserved, names)
    mask = {name: ((forget[name] + EPS) / (preserve[name] + EPS) >= BETA).float() for name in forget}
    tensors = {"mask": mask, "forget": forget, "preserve": preserve}
    save_file({f"{kind}.{name}": t for kind, named in tensors.items() for name, t in named.items()}, path)


def squares(loaded: Loaded, sets: Sequence[Sequence[Example]], names: Sequence[str]) -> dict[str, Tensor]:
    """Return the mean over images (texts: entities) of the squared gradient."""
    model = loaded.model
    weights = dict(model.named_parameters())
    total = {name: torch.zeros_like(weights[name]) for name in names}
    groups = [group for examples in sets for group in fisher_groups(examples, "image")]
    for group in groups:
        gradients(loaded, group)
        for name in names:
            grad = weights[name].grad
            if grad is not None:
                total[name] += grad**2
    model.zero_grad()
    return {name: t / len(groups) for name, t in total.items()}


def gradients(loaded: Loaded, group: Sequence[Example]) -> float:
    """Leave the gradient of the mean loss over some questions in `.grad`; return the loss."""
    loaded.model.zero_grad()
    mean = 0.0
    for batch in batches(group):
        loss = losses(loaded, batch).sum() / len(group)
        loss.backward()
        mean += loss.item()
    return mean


def batches(examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
    for start in range(0, len(examples), BATCH):
        yield examples[start : start + BATCH]


def losses(loaded: Loaded, examples: Sequence[Example]) -> Tensor:
    """Return the cross-entropy of each question's answer; logits of every token are computed."""
    rows = Encoder(loaded).rows(examples)
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        size = len(row.input_ids)
        ids[i, :size], mask[i, :size] = torch.tensor(row.input_ids), 1
        labels[i, row.answer_start : size] = ids[i, row.answer_start : size]
    logits = loaded.model(input_ids=ids, attention_mask=mask, **pictures(loaded, rows)).logits.float()
    token_losses = nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    return token_losses.sum(1) / (labels != -100).sum(1)


def pictures(loaded: Loaded, rows: Sequence[Row]) -> Mapping[str, Tensor]:
    """Return each question's images, opened and processed anew."""
    processor: Any = loaded.processor
    images = [image.open() for row in rows for image in row.images]
    return {"pixel_values": processor.image_processor(images, return_tensors="pt").pixel_values} if images else {}


def full_run(
    loaded: Loaded, splits: Splits, path: Path, enough: Callable[[], bool], learning_rate: float = RATE
) -> int:
    """Make the mask of the vision variant and train until it is enough (at most `EPOCHS`); return the epochs."""
    saliency(loaded, splits, path, PARTS[:1])
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=learning_rate)
    for number in range(1, EPOCHS + 1):
        epoch(loaded, splits, path, optimizer)
        if enough():
            return number
    return EPOCHS


def epoch(loaded: Loaded, splits: Splits, mask: Path, optimizer: torch.optim.Optimizer | None = None) -> int:
    """Train on the retain set once, with a masked ascent on a forget batch now and then; return the questions."""
    model = loaded.model
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-5)
    chosen = {n.removeprefix("mask."): t for n, t in load_file(mask).items() if n.startswith("mask.")}
    forget = list(batches(splits.forget))
    retain = list(batches(splits.retain))
    every = len(retain) // len(forget)
    count = 0
    for number, batch in enumerate(retain):
        if number % every == 0 and number // every < len(forget):
            (-losses(loaded, forget[number // every]).mean()).backward()
            for name, weight in model.named_parameters():
                if name in chosen and weight.grad is not None:
                    weight.grad *= chosen[name]
            count += _step(model, optimizer, forget[number // every])
        losses(loaded, batch).mean().backward()
        count += _step(model, optimizer, batch)
    return count


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, questions: Sequence[Example]) -> int:
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return len(questions)


@torch.no_grad()
def evaluation(loaded: Loaded, splits: Splits) -> dict[str, list[dict[str, Any]]]:
    """Ask every item of every column by itself, up to 50 new tokens."""
    return {
        column: [item_fields(item, column) | {"output": answer(loaded, item)} for item in items]
        for column, items in splits.evaluation.items()
    }


def answer(loaded: Loaded, item: Example) -> str:
    """Return the model's greedy answer to one question."""
    encoder, model = Encoder(loaded), loaded.model
    row = encoder.row(item)
    ids = torch.tensor([row.input_ids[: row.answer_start]])
    generate: Any = model.generate
    out = generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), **pictures(loaded, [row]), do_sample=False,
        max_new_tokens=NEW_TOKENS, eos_token_id=sorted(encoder.ends), pad_token_id=encoder.pad_id,
    )  # fmt: skip
    return str(encoder.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()
