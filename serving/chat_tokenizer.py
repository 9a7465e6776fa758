"""The model's own tokenizer: counts and cuts text, and turns a chat into prompt tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from serving.types import EngineError, Message

NUM_CACHED_PROMPTS, MAX_CACHED_CHARACTERS = 256, 32_768
"""A prompt is often counted just before it is sent; its tokens are then at hand. Long ones would fill the memory."""
BREAK = "\u200b"
"""Zero-width space: nothing to see, but a special token's text with it inside is only text."""


class ChatTokenizer:
    """`serving.types.Tokenizer` over a fast tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        """Wrap `tokenizer`, a `PreTrainedTokenizerFast` with a chat template."""
        self._tokenizer = tokenizer
        self._cached_chat_tokens = lru_cache(maxsize=NUM_CACHED_PROMPTS)(self._chat_tokens)
        special = sorted((one.content for one in tokenizer.added_tokens_decoder.values() if one.special), key=len)
        self._special = re.compile("|".join(re.escape(text) for text in reversed(special) if text) or "(?!)")

    def __reduce__(self) -> tuple[type[ChatTokenizer], tuple[Any]]:
        return type(self), (self._tokenizer,)

    def count(self, text: str) -> int:
        """Number of tokens of `text`, without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def keep_start(self, text: str, num_tokens: int) -> str:
        """The longest beginning of `text` of at most `num_tokens` tokens."""
        offsets = self._offsets(text)
        if len(offsets) <= num_tokens:
            return text
        # The cut text may split into more tokens than it was cut from, so the cut is checked.
        for kept in range(num_tokens, 0, -1):
            start = text[: offsets[kept - 1][1]]
            if self.count(start) <= num_tokens:
                return start
        return ""

    def keep_end(self, text: str, num_tokens: int) -> str:
        """The longest end of `text` of at most `num_tokens` tokens."""
        offsets = self._offsets(text)
        if len(offsets) <= num_tokens:
            return text
        for kept in range(num_tokens, 0, -1):
            end = text[offsets[-kept][0] :]
            if self.count(end) <= num_tokens:
                return end
        return ""

    def count_chat(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens of a chat.

        Raises:
            EngineError: as `chat_tokens`.
        """
        return len(self.chat_tokens(messages))

    def chat_tokens(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Prompt tokens of a chat: its template applied once, up to where the assistant speaks.

        The texts of special tokens in messages, such as `<|im_end|>`, are broken: a message cannot end its own turn and
        begin another.

        Raises:
            EngineError: the model's template refuses the chat, for example its roles.
        """
        if sum(len(message.content) for message in messages) > MAX_CACHED_CHARACTERS:
            return self._chat_tokens(tuple(messages))
        return self._cached_chat_tokens(tuple(messages))

    def _chat_tokens(self, messages: tuple[Message, ...]) -> tuple[int, ...]:
        try:
            text = self._tokenizer.apply_chat_template(
                [{"role": message.role, "content": self.inert(message.content)} for message in messages],
                tokenize=False,
                add_generation_prompt=True,
            )
        except Exception as error:  # templates raise jinja2's errors, and whatever their expressions do
            raise EngineError(f"the model's chat template refuses these messages: {error}") from error
        # The template has written the special tokens already.
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def inert(self, text: str) -> str:
        """`text` with the texts of special tokens broken: to see it is the same, to the model it is only text."""
        return self._special.sub(lambda found: found[0][0] + BREAK + found[0][1:], text)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        encoding = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(encoding["offset_mapping"])
