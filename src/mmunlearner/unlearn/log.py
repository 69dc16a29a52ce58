"""The log of a training run: one line of JSON for each optimizer step."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import TypedDict

from mmunlearner.core.files import append_jsonl, repair_jsonl, write_jsonl
from mmunlearner.core.progress import Progress
from mmunlearner.core.records import check_record, read_records
from mmunlearner.core.validation import WholeNumber
from mmunlearner.errors import TrainingError


class Line(TypedDict):
    """A line that is read again; it has more."""

    step: WholeNumber
    tokens: NotRequired[WholeNumber]
    look: NotRequired[Mapping[str, Any]]


@dataclass
class StepLog(TrainerCallback):
    """Writes both terms, learning rate, gradient norm and seconds of each step; the trainer adds to its sums."""

    path: Path
    progress: Progress
    losses: dict[str, float] = field(default_factory=dict)
    """Term -> its loss in the present step."""
    tokens: int = 0
    """Tokens of the present step."""
    stop_check: dict[str, Any] | None = None
    """The check of early stopping after the present step, where there was one."""
    started: float = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Drop the lines of steps that a resumed run makes again."""
        self.started = time.monotonic()
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = repair_jsonl(self.path) if self.path.exists() else []
            for number, line in enumerate(lines, 1):
                check_record(line, Line, f"{self.path}, line {number}")
            write_jsonl(self.path, [line for line in lines if line["step"] <= state.global_step])

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **more: Any
    ) -> None:
        if not logs or "grad_norm" not in logs:  # the Trainer's summary at the end of training
            return
        groups = more["optimizer"].param_groups
        line = {
            "step": state.global_step,
            "forget": self.losses.get("forget"),
            "retain": self.losses.get("retain"),
            **({"relearning": self.losses["relearning"]} if "relearning" in self.losses else {}),
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": float(logs["grad_norm"]),
            "tokens": self.tokens,
            "seconds": round(time.monotonic() - self.started, 3),
            **({"learning_rates": _rates(groups, logs["learning_rate"])} if "part" in groups[0] else {}),
            **({"look": self.stop_check} if self.stop_check else {}),
        }
        if not math.isfinite(line["grad_norm"]):
            raise TrainingError(
                f"step {state.global_step}: the gradient norm is {line['grad_norm']}; lower train.learning_rate; "
                "checkpoints of earlier steps are kept"
            )
        # On every process: the sums of the next step start from nothing.
        self.losses, self.tokens, self.stop_check = {}, 0, None
        if state.is_world_process_zero:
            append_jsonl(self.path, line)
            self.progress.update("step", state.global_step, state.max_steps)


def _rates(groups: Sequence[Mapping[str, Any]], first: float) -> dict[str, float]:
    """Return the learning rate of each part; `first` is that of the first group in this step."""
    # The groups have the rates of the next step already: all of them follow one schedule.
    return {group["part"]: first * group["initial_lr"] / groups[0]["initial_lr"] for group in reversed(groups)}


def summarize(path: Path, planned: int) -> tuple[int, Mapping[str, Any] | None]:
    """Return the tokens of all steps, those before an interruption too, and the last check of early stopping.

    `planned` is the number of steps that would have been made without it.
    """
    lines = read_records(path, Line)
    checks = [{"step": line["step"], "of": planned, **line["look"]} for line in lines if "look" in line]
    return sum(line.get("tokens", 0) for line in lines), checks[-1] if checks else None
