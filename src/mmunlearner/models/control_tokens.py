"""Control tokens: what steers a model and so may not stand in a text, all that its files know of.

These are the tokenizer's special tokens, those of images and videos, and the ends of an answer. Many checkpoints name
some of them in `generation_config.json` alone (a second end token) or in `config.json` alone (the image token).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mmunlearner.models.load import Loaded, end_token_ids

MEDIA_TOKEN = re.compile(r"(image|video|audio|vision)\w*_token_(id|index)")
"""Names of the entries of a configuration that hold the token of a picture's or film's place."""


@dataclass(frozen=True)
class ControlTokens:
    """Control tokens of a model, as texts."""

    special: frozenset[str]
    """Tokens that steer the model wherever they stand."""
    ends: frozenset[str]
    """Ordinary words or signs that the generation config calls the end of an answer; in a question they are text."""

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        """Patterns for a question, and for an answer."""
        return _any_of(self.special), _any_of(self.special | self.ends)

    def first(self, text: str, *, answer: bool = False) -> str:
        """Return the first control token in a text; empty if there is none."""
        found = self._patterns[answer].search(text)
        return found.group() if found else ""


def control_tokens(loaded: Loaded) -> ControlTokens:
    """Return all control tokens that a model's tokenizer, processor, configuration and generation config know of."""
    tokenizer: Any = getattr(loaded.processor, "tokenizer")  # noqa: B009 (absent from the stub)
    added = {int(token_id): str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
    special = {added[token_id] for token_id, token in tokenizer.added_tokens_decoder.items() if token.special}
    special |= {*tokenizer.all_special_tokens, *_named_tokens(loaded.processor), *_named_tokens(tokenizer)}
    size = len(tokenizer)
    for name, token_id in loaded.model.config.to_dict().items():
        # Only of the top: the configurations below have defaults of their class that other tokenizers do not share.
        if MEDIA_TOKEN.fullmatch(name) and isinstance(token_id, int) and 0 <= token_id < size:
            special.add(str(tokenizer.decode([token_id])))
    end_ids = [token_id for token_id in end_token_ids(loaded) if 0 <= token_id < size]
    # An added token is never an ordinary word, even where its entry does not call it special.
    special |= {added[token_id] for token_id in end_ids if token_id in added}
    ends = {str(tokenizer.decode([token_id])) for token_id in end_ids if token_id not in added}
    special -= {""}
    return ControlTokens(frozenset(special), frozenset(ends - special - {""}))


def _named_tokens(owner: Any) -> Iterator[str]:
    """Yield the texts under names like `image_token`, `video_token` or `boi_token`."""
    for name, value in vars(owner).items():
        if name.endswith("_token") and not name.startswith("_") and value is not None:
            yield str(value)


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    # The longest first: one token may begin with another. Without any token, a pattern that matches nothing.
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=lambda t: (-len(t), t))) or r"(?!)")
