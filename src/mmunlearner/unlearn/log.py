"""What a run says of its steps: a line of JSON each."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mmunlearner.core.files import append_jsonl, read_jsonl, write_jsonl
from mmunlearner.core.progress import Progress
from mmunlearner.errors import TrainingError

if TYPE_CHECKING:
    from mmunlearner.unlearn.trainer import UnlearnTrainer


@dataclass
class StepLog(TrainerCallback):
    """One line of JSON per optimizer step: both terms, learning rate, gradient norm, seconds."""

    path: Path
    progress: Progress
    trainer: UnlearnTrainer | None = None
    started: float = 0.0
    look: dict[str, Any] | None = None
    """What was seen of the forgotten after this step, where somebody looked."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A resumed run forgets the lines of steps that it makes again."""
        self.started = time.monotonic()
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines = _whole_lines(self.path) if self.path.exists() else []
            write_jsonl(self.path, [line for line in lines if line["step"] <= state.global_step])

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        trainer = self.trainer
        if trainer is None or not logs or "grad_norm" not in logs:
            return
        line = {
            "step": state.global_step,
            "forget": trainer.losses.get("forget"),
            "retain": trainer.losses.get("retain"),
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": float(logs["grad_norm"]),
            "tokens": trainer.tokens,
            "seconds": round(time.monotonic() - self.started, 3),
            **({"look": self.look} if self.look else {}),
        }
        if not math.isfinite(line["grad_norm"]):
            raise TrainingError(
                f"step {state.global_step}: the gradient norm is {line['grad_norm']}; lower train.learning_rate; "
                "checkpoints of earlier steps are kept"
            )
        trainer.losses, trainer.tokens, self.look = {}, 0, None
        if state.is_world_process_zero:
            append_jsonl(self.path, line)
            self.progress.update("step", state.global_step, state.max_steps)


def _whole_lines(path: Path) -> list[Any]:
    """A kill may have cut the last line short."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()] if whole != text else read_jsonl(path)
