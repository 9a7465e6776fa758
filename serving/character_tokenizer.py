"""A tokenizer by arithmetic: every so many characters are a token, wherever they stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from serving.types import Message

NUM_CACHED_PROMPTS = 4096
"""Samples of one prompt share its blocks."""


class CharacterTokenizer:
    """`serving.types.Tokenizer` with the average length of a model's tokens and of its chat template."""

    def __init__(self, characters_per_token: float, template_tokens: int) -> None:
        """Cut text into tokens of `characters_per_token`; the template adds `template_tokens` to each message."""
        self._characters = characters_per_token
        self._template = template_tokens
        self._cached_keys = lru_cache(maxsize=NUM_CACHED_PROMPTS)(self._block_keys)

    def __reduce__(self) -> tuple[type[CharacterTokenizer], tuple[float, int]]:
        return type(self), (self._characters, self._template)

    def count(self, text: str) -> int:
        """Number of tokens of `text`."""
        return math.ceil(len(text) / self._characters)

    def keep_start(self, text: str, num_tokens: int) -> str:
        """The longest beginning of `text` of at most `num_tokens` tokens."""
        return text[: max(int(num_tokens * self._characters), 0)]

    def keep_end(self, text: str, num_tokens: int) -> str:
        """The longest end of `text` of at most `num_tokens` tokens."""
        kept = max(int(num_tokens * self._characters), 0)
        return text[len(text) - kept :] if kept < len(text) else text

    def count_chat(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens of a chat."""
        return sum(self._template + self.count(message.content) for message in messages)

    def block_keys(self, messages: Sequence[Message], block_size: int) -> tuple[int, ...]:
        """A key for each block of a chat's prompt that lies wholly in it, its last token left out.

        As in vLLM the last token is always computed. Chats with equal keys up to a block are equal up to there.
        """
        return self._cached_keys(tuple(messages), block_size)

    def _block_keys(self, messages: tuple[Message, ...], block_size: int) -> tuple[int, ...]:
        # Every message takes the characters of its tokens, so that a token is at the same place in text and count.
        template = math.ceil(self._template * self._characters)
        text = "".join(
            message.role[:template].ljust(template)
            + message.content.ljust(math.ceil(self.count(message.content) * self._characters))
            for message in messages
        )
        num_blocks = max(self.count_chat(messages) - 1, 0) // block_size
        width = block_size * self._characters
        keys: list[int] = []
        for block in range(num_blocks):
            part = text[math.ceil(block * width) : math.ceil((block + 1) * width)]
            keys.append(hash((keys[-1] if keys else 0, part)))
        return tuple(keys)
