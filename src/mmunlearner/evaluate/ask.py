"""Questions in tokens, the log-likelihoods of their candidate answers, and the model's greedy answers.

A greedy answer costs little where it is a candidate: the candidates are scored anyway, and scoring reveals the argmax
behind each of their tokens (`likelihood.greedy_from_drafts`). Answers that the candidates do not reveal are generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmunlearner.batches import Encoder, Row
from mmunlearner.config import EvaluateConfig
from mmunlearner.core.progress import Progress
from mmunlearner.data import Example, prompt, target
from mmunlearner.data.prompts import AnswerPools, candidate_answers, open_question, option_letters
from mmunlearner.evaluate.generate import generate
from mmunlearner.evaluate.likelihood import LikelihoodScorer, RowKey, TokenScores, greedy_from_drafts, row_key

# The candidates of a question have about this many tokens once their common prefixes are shared. Larger batches gain
# nothing on a CPU.
_TOKENS_PER_QUESTION = 32
# Most answers that are not a candidate are short too: this many more tokens are scored before `generate` is called.
_EXTRA_TOKENS = 2
# Scoring one more token reads the prompt again from its start. That does not pay if an image makes the prompt longer
# than this.
_SHORT_PROMPT = 256


@dataclass(frozen=True)
class Question:
    """One item in tokens."""

    item: Example
    prompt: Row
    """The prompt, without an answer."""
    option_letters: dict[str, Row]
    """Letter -> the prompt answered with it; empty unless the item is multiple choice."""
    candidate_texts: dict[str, Row]
    """Answer in words -> the open question answered with it; for a multiple choice item, without its options."""

    @property
    def candidates(self) -> list[Row]:
        """Candidate answers to the item's own prompt."""
        # Answers in words to a multiple choice item stand behind the open question, a different prompt.
        return list((self.option_letters or self.candidate_texts).values())


def encode(item: Example, encoder: Encoder, pools: AnswerPools) -> Question:
    """Encode an item with all its candidate answers."""
    question, open_text = prompt(item), open_question(item)
    letters, texts = option_letters(item), candidate_answers(item, pools)
    return Question(
        item,
        encoder.prompt(question, item.images),
        {letter: encoder.conversation(question, letter, item.images) for letter in letters},
        {text: encoder.conversation(open_text, text, item.images) for text in texts},
    )


def encode_briefly(item: Example, encoder: Encoder) -> Question:
    """Encode an item with the truth as the only candidate.

    The model's answer does not depend on the candidates; they only make it cheaper to find.
    """
    return Question(item, encoder.prompt(prompt(item), item.images), {}, {target(item): encoder.row(item)})


def encode_with_options(item: Example, encoder: Encoder, options: Sequence[str]) -> Question:
    """Encode an item whose truth is not known, with answers in words whose likelihoods are wanted."""
    question = prompt(item)
    candidates = {option: encoder.conversation(question, option, item.images) for option in options}
    return Question(item, encoder.prompt(question, item.images), {}, candidates)


def candidate_fields(question: Question, scores: Mapping[RowKey, TokenScores]) -> dict[str, Any]:
    """Return the fields of an item's line that hold the log-likelihoods of its candidates."""
    item, fields = question.item, {}
    if question.option_letters:
        # Without the end token: the model may go on behind the letter ("B: Paris"), which is no worse a choice.
        fields["option_logps"] = [_logp(scores[row_key(row)].logps[:-1]) for row in question.option_letters.values()]
    logps = {text: scores[row_key(row)].logps for text, row in question.candidate_texts.items()}
    for name, text in (("answer", item.answer), ("paraphrase", item.paraphrase)):
        if text:
            fields |= {f"{name}_logp": _logp(logps[text]), f"{name}_tokens": len(logps[text])}
    # Where the truth has a paraphrase, neither form of it is wrong.
    wrong = [text for text in logps if text not in (item.answer, item.paraphrase)]
    if wrong:
        fields["perturbed"] = wrong
        fields["perturbed_logps"] = [_logp(logps[text]) for text in wrong]
        fields["perturbed_tokens"] = [len(logps[text]) for text in wrong]
    return fields


def _logp(logps: Sequence[float]) -> float:
    """Return the sum of log-probabilities."""
    # float32 has no more digits: the rest would be noise in the files.
    return round(sum(logps), 6)


@dataclass
class Asker:
    """Asks one model, which must be in eval mode."""

    encoder: Encoder
    config: EvaluateConfig
    scorer: LikelihoodScorer = field(init=False)

    def __post_init__(self) -> None:
        self.scorer = LikelihoodScorer(self.encoder, self.config.batch_size * _TOKENS_PER_QUESTION)

    def ask(
        self, questions: Sequence[Question], title: str, progress: Progress = Progress()
    ) -> tuple[dict[RowKey, TokenScores], list[str]]:
        """Return the scores of all candidates, and the model's greedy answer to each question.

        `progress` counts candidates and questions under `title`.
        """
        # By key, so that a row that several questions have in common is scored once.
        rows = {
            row_key(row): row for q in questions for row in (*q.option_letters.values(), *q.candidate_texts.values())
        }
        total = len(rows) + len(questions)
        scores = self.scorer.score(rows.values(), title, progress.part(0, len(rows), total))
        answers = [self._follow(question, question.candidates, scores) for question in questions]
        for _ in range(_EXTRA_TOKENS):
            answers = self._one_token_more(questions, answers)
        # Answers that left all drafts before their end.
        open_ends = [i for i, answer in enumerate(answers) if not self._is_complete(answer)]
        done = total - len(open_ends)
        progress.update(title, done, total)
        # `generate` starts from the prompt again; the tokens of these answers so far are not used.
        prompts = [questions[i].prompt for i in open_ends]
        generated = generate(prompts, self.encoder, self.config, title, progress.part(done, total, total))
        for i, answer in zip(open_ends, generated, strict=True):
            answers[i] = answer
        decode = self.encoder.tokenizer.decode
        return scores, [str(decode(list(answer), skip_special_tokens=True)).strip() for answer in answers]

    def _follow(
        self, question: Question, drafts: Sequence[Row], scores: Mapping[RowKey, TokenScores]
    ) -> tuple[int, ...]:
        scored = [(row, scores[row_key(row)]) for row in drafts]
        return greedy_from_drafts(question.prompt, scored, self.encoder.ends, self.config.max_new_tokens)

    def _one_token_more(
        self, questions: Sequence[Question], answers: Sequence[tuple[int, ...]]
    ) -> list[tuple[int, ...]]:
        """Add one token to each answer to a short prompt that has left the candidates and has not ended."""
        drafts: dict[int, Row] = {}
        for i, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            if question.prompt.answer_start <= _SHORT_PROMPT and not self._is_complete(answer):
                # Any token will do behind the answer: only the argmax in its place is used.
                drafts[i] = self.encoder.extend(question.prompt, (*answer, question.prompt.input_ids[-1]))
        scores = self.scorer.score(drafts.values()) if drafts else {}
        return [
            self._follow(questions[i], [drafts[i]], scores) if i in drafts else answer
            for i, answer in enumerate(answers)
        ]

    def _is_complete(self, answer: tuple[int, ...]) -> bool:
        return len(answer) >= self.config.max_new_tokens or (bool(answer) and answer[-1] in self.encoder.ends)
