"""A model answers a benchmark: items -> `COLUMN.jsonl`, one line each -> `scores.json`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmunlearner.batches import Encoder
from mmunlearner.config import EvaluateConfig
from mmunlearner.core.files import read_json, write_json, write_jsonl
from mmunlearner.core.progress import Progress
from mmunlearner.core.recipes import check
from mmunlearner.data import Example
from mmunlearner.data.prompts import answer_pools, item_fields
from mmunlearner.data.splits import sample_by_entity
from mmunlearner.errors import DataError
from mmunlearner.evaluate.ask import Asker, candidate_fields, encode, encode_briefly
from mmunlearner.evaluate.metrics import Line, accuracy
from mmunlearner.evaluate.saved import Score, read_lines
from mmunlearner.evaluate.scores import ModelScores, mean_score, rescore
from mmunlearner.models import Loaded, fetch_weight


def evaluate_model(
    loaded: Loaded,
    evaluation: Mapping[str, Sequence[Example]],
    out_dir: Path | str,
    *,
    config: EvaluateConfig | None = None,
    progress: Progress = Progress(),
) -> ModelScores:
    """Ask a model every item of every column; write `out_dir/COLUMN.jsonl`, then `out_dir/scores.json`.

    A column is not asked again if its file holds the answers of the same weights and settings to the same items.

    Raises:
        DataError: `out_dir` holds another model's answers, or answers to other questions.
        ModelError: the model's log-probabilities are not finite.
    """
    config, out_dir = check(config or EvaluateConfig()), Path(out_dir)
    _claim_folder(out_dir, loaded, config)
    sampled = {column: sample_by_entity(items, config.limit) for column, items in evaluation.items()}
    pools = answer_pools(evaluation.values())
    asker = Asker(Encoder(loaded), config)
    done, total = 0, sum(map(len, sampled.values()))
    # Dropout would make answers differ between two evaluations of the same weights.
    with _eval_mode(loaded.model):
        for column, items in sampled.items():
            path = out_dir / f"{column}.jsonl"
            fields = [item_fields(item, column) for item in items]
            if items and not _is_answered(path, fields):
                part = progress.part(done, done + len(items), total)
                if config.candidates:
                    questions = [encode(item, asker.encoder, pools) for item in items]
                else:
                    # Only the answers are wanted: the truth as a draft makes them cheap wherever the model knows it.
                    questions = [encode_briefly(item, asker.encoder) for item in items]
                scores, outputs = asker.ask(questions, column, part)
                lines: list[dict[str, Any]] = [
                    of_item | _scored(item, output) | (candidate_fields(question, scores) if config.candidates else {})
                    for item, of_item, output, question in zip(items, fields, outputs, questions, strict=True)
                ]
                # Written in one step when all items are answered: a file that exists is complete.
                write_jsonl(path, lines)
            done += len(items)
    return rescore(out_dir, config.scoring)


def quick_scores(
    loaded: Loaded,
    columns: Mapping[str, Sequence[Example]],
    *,
    config: EvaluateConfig | None = None,
) -> dict[str, Score]:
    """Return the accuracy of each column as `evaluate_model` does, without files, at a fraction of its cost."""
    return {
        column: mean_score([accuracy(line) for line in lines], [line["entity"] for line in lines])
        for column, lines in quick_answers(loaded, columns, config=config).items()
    }


def quick_answers(
    loaded: Loaded,
    columns: Mapping[str, Sequence[Example]],
    *,
    config: EvaluateConfig | None = None,
) -> dict[str, list[Line]]:
    """Return a model's answers by column, without the likelihoods of candidates; columns without items are left out."""
    config = config or EvaluateConfig()
    asker = Asker(Encoder(loaded), config)
    answers: dict[str, list[Line]] = {}
    with _eval_mode(loaded.model):
        for column, all_items in columns.items():
            items = sample_by_entity(all_items, config.limit)
            if items:  # a mean of nothing has no value
                _, outputs = asker.ask([encode_briefly(item, asker.encoder) for item in items], column)
                answers[column] = [
                    item_fields(item, column) | _scored(item, output) | {"scoring": config.scoring}
                    for item, output in zip(items, outputs, strict=True)
                ]
    return answers


def _scored(item: Example, output: str) -> dict[str, Any]:
    """Return an answer, and the longer answers that it may be instead."""
    return {"output": output} | ({"longer": list(item.longer)} if item.longer else {})


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode, and back in its mode afterwards."""
    # Quick scores are taken in the middle of training, which must go on in training mode.
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _claim_folder(out_dir: Path, loaded: Loaded, config: EvaluateConfig) -> None:
    """Record in a new folder whose answers it holds; refuse one that holds those of other weights or settings."""
    inputs = {"weights": weights_fingerprint(loaded), **asdict(config)}
    if loaded.compute_dtype == "bfloat16":
        inputs["dtype"] = loaded.compute_dtype
    del inputs["batch_size"]  # it changes the speed alone
    del inputs["scoring"]  # the same answers are scored by any rules
    # With other settings the same model may answer differently: one folder must not mix the two.
    path = out_dir / "inputs.json"
    if not path.exists():
        write_json(path, inputs)
    recorded = read_json(path)
    differing = [name for name in inputs if not isinstance(recorded, dict) or recorded.get(name) != inputs[name]]
    if differing:
        raise DataError(
            f"{out_dir}: holds an evaluation with other {', '.join(differing)}; remove it or name another folder"
        )


def _is_answered(path: Path, fields: Sequence[Mapping[str, Any]]) -> bool:
    """Return True if a column's file exists.

    Raises:
        DataError: it holds answers to other questions.
    """
    if not path.exists():
        return False
    lines = read_lines(path)
    # Only the item's fields: the line has the output and the likelihoods besides.
    same = len(lines) == len(fields) and all(
        of_item == {name: line.get(name) for name in of_item} for of_item, line in zip(fields, lines, strict=True)
    )
    if not same:
        raise DataError(f"{path}: holds answers to other questions; remove it or name another folder")
    return True


def weights_fingerprint(loaded: Loaded) -> str:
    """Return a digest that is equal for bit-identical weights on any device."""
    digest = hashlib.sha256()
    # Sorted, so that the order of registration does not matter.
    for name in sorted(name for name, _ in loaded.model.named_parameters()):
        weight = fetch_weight(loaded.model, name)
        # Sums of bytes by their place in a number are taken on the device: weights of gigabytes are not copied to the
        # CPU. They are integers, so that the order of summation, which differs between devices, does not matter.
        bits = weight.flatten().view(torch.uint8).view(-1, weight.element_size())
        sums = bits.sum(0, dtype=torch.int64)
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} {sums.tolist()}".encode())
    return digest.hexdigest()
