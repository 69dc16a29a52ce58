"""A question and its answer as the text that a model's chat template makes of them."""

from __future__ import annotations

from dataclasses import dataclass

from mmunlearner.batches.encoding_cache import EncodingCache
from mmunlearner.errors import ModelError, reason
from mmunlearner.models import Loaded


@dataclass(frozen=True)
class ChatTemplate:
    """A model's chat template, for one user turn, whose images stand before the question, and one assistant turn."""

    loaded: Loaded
    cache: EncodingCache

    def prompt(self, question: str, images: int) -> str:
        """Return the text up to where the assistant starts to speak.

        Raises:
            ModelError: the template does not take so many images.
        """
        return self._render(question, None, images)

    def conversation(self, question: str, answer: str, images: int) -> str:
        """Return the text of both turns, going on from the prompt.

        Raises:
            ModelError: the template does not take so many images.
        """
        prompt, text = self.prompt(question, images), self._render(question, answer, images)
        if text.startswith(prompt):
            return text
        # Some templates begin an answer in another way than they ask for one. The model has to learn the answer behind
        # the prompt of its later questions, so that it is cut out and put there.
        return prompt + text[max(text.rfind(answer.strip()), 0) :]

    def check_images(self, images: int) -> None:
        """Refuse more images than the template has places for.

        Raises:
            ModelError: the template leaves out the last image.
        """
        if self.prompt("", images) == self.prompt("", images - 1):
            raise ModelError(
                f"model {self.loaded.source}: its chat template has no place for image {images} of a question; "
                "ask about fewer, or put another template beside the model as chat_template.jinja"
            )

    def _render(self, question: str, answer: str | None, images: int) -> str:
        key = (question, answer, images)
        if key in self.cache.texts:
            return self.cache.texts[key]
        content = [*[{"type": "image"}] * images, {"type": "text", "text": question}]
        turns = [{"role": "user", "content": content}]
        if answer is not None:
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        try:
            text = str(self.loaded.processor.apply_chat_template(turns, add_generation_prompt=answer is None))
        except Exception as error:  # the template's own, or of what it does with its arguments
            source = self.loaded.source
            raise ModelError(f"model {source}: its chat template refuses {images} images: {reason(error)}") from error
        self.cache.texts[key] = text
        return text
