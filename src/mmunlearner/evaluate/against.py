"""One evaluation beside that of the model before unlearning: what was forgotten, and what was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmunlearner.config import Scoring
from mmunlearner.evaluate.metrics import Line
from mmunlearner.evaluate.scores import Difference, ModelScores, differences, item_scores, read_columns, score_lines

FORGOTTEN = ("forget_vqa", "forget_vqa_test")
HARDLY = 0.25
"""Share of the earlier model's accuracy on the forget set; a loss of less is said to be hardly anything."""
ERRORS = 2.0
"""Standard errors beyond which a loss of another column is named."""


@dataclass(frozen=True)
class Against:
    """Scores of an earlier model, and the differences of a model to it, by column."""

    name: str
    scores: ModelScores
    differences: Mapping[str, Difference]

    @classmethod
    def of(cls, name: str, folder: Path | str, model: Path | str, scoring: Scoring = "package") -> Against:
        """Compare the answers in the folder `model` with those in `folder`, which are the earlier model's.

        Raises:
            DataError: one of them holds no answers.
        """
        mine, theirs = read_columns(model, scoring), read_columns(folder, scoring)
        common = {column: _asked(lines, mine[column]) for column, lines in theirs.items() if column in mine}
        accuracies = [
            {column: item_scores(_asked(columns[column], common[column])) for column in common if common[column]}
            for columns in (mine, theirs)
        ]
        scores = ModelScores({column: score_lines(lines) for column, lines in common.items() if lines})
        return cls(name, scores, differences(*accuracies))

    @property
    def verdict(self) -> str:
        """Sentences on what was forgotten, and on the columns that fell with it."""
        forgotten = [column for column in FORGOTTEN if column in self.differences]
        if not forgotten:
            return "Neither evaluation asks about images to forget, so that nothing can be said of forgetting."
        hardly = all(-self.differences[c].value < HARDLY * self._before(c) for c in forgotten)
        lines = ["Hardly anything was forgotten:" if hardly else "Accuracy on the images to forget:"]
        lines.append("; ".join(self._fall(column) for column in forgotten) + ".")
        if hardly:
            lines.append("Train longer or at a higher rate (train.steps, train.learning_rate), or move more weights.")
        lost = [
            column
            for column, gap in self.differences.items()
            if not column.startswith("forget_vqa") and gap.value < min(0.0, -ERRORS * gap.stderr)
        ]
        if lost:
            lines.append(f"Lost as well: {'; '.join(self._fall(column) for column in lost)}.")
        return " ".join(lines)

    def _before(self, column: str) -> float:
        return self.scores.columns[column]["accuracy"].value

    def _fall(self, column: str) -> str:
        before = self._before(column)
        return f"{column} {100 * before:.1f} -> {100 * (before + self.differences[column].value):.1f}"


def _asked(lines: Sequence[Line], others: Sequence[Line]) -> list[Line]:
    """Return the lines whose questions were asked in the other evaluation too."""
    ids = {line["id"] for line in others}
    return [line for line in lines if line["id"] in ids]
