"""A stand-in for an engine, for tests of logic: answers at once, and equal requests get equal answers."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from serving.clock import now
from serving.types import Completion, EngineError, GenerationRequest, Message, RequestRefusedError, RequestTiming

_WORDS = ("First", "we", "count", "what", "there", "is", "then", "add", "the", "rest", "and", "check", "it")
_MIN_ANSWER, _NUM_ANSWERS = 2, 17
_MAX_WORDS = 40
_CHAT_WORDS_PER_MESSAGE = 1
"""The fake chat template: one word, the role, before each message."""


class WordTokenizer:
    """A word between white space is a token."""

    def count(self, text: str) -> int:
        """Number of words of `text`."""
        return len(text.split())

    def keep_start(self, text: str, num_tokens: int) -> str:
        """The longest beginning of `text` of at most `num_tokens` words."""
        ends = [match.end() for match in re.finditer(r"\S+", text)]
        if len(ends) <= num_tokens:
            return text
        return text[: ends[num_tokens - 1]] if num_tokens > 0 else ""

    def keep_end(self, text: str, num_tokens: int) -> str:
        """The longest end of `text` of at most `num_tokens` words."""
        starts = [match.start() for match in re.finditer(r"\S+", text)]
        if len(starts) <= num_tokens:
            return text
        return text[starts[-num_tokens] :] if num_tokens > 0 else ""

    def count_chat(self, messages: Sequence[Message]) -> int:
        """Number of words of a chat, their roles included."""
        return sum(self.count(message.content) + _CHAT_WORDS_PER_MESSAGE for message in messages)


class FakeEngine:
    """For tests of logic, never for results: the text is made from a hash of the request, not by a model.

    The text ends in `Answer: N`, N from 2 to 18, unless `max_tokens` cuts it. Equal seed, messages, max_tokens and
    choices give equal text; the request's id, temperature and top_p do not matter.
    """

    def __init__(
        self,
        *,
        max_model_len: int = 2048,
        delay_s: float = 0.0,
        token_s: float = 0.0,
        fail: Callable[[GenerationRequest], EngineError | None] | None = None,
    ) -> None:
        """Make an engine without processes.

        Args:
            max_model_len: longest prompt plus output, in words.
            delay_s: seconds every request takes until its first word.
            token_s: seconds every word takes.
            fail: returns the error a request is to fail with, or None.
        """
        self._max_model_len = max_model_len
        self._delay_s, self._token_s = delay_s, token_s
        self._fail = fail
        self._tokenizer = WordTokenizer()
        self._num_unfinished = 0

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus output, in words."""
        return self._max_model_len

    @property
    def tokenizer(self) -> WordTokenizer:
        """Counts words."""
        return self._tokenizer

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """Number of words of `messages`, their roles included."""
        return self._tokenizer.count_chat(messages)

    @property
    def is_dead(self) -> bool:
        """It never dies."""
        return False

    @property
    def num_unfinished(self) -> int:
        """Requests in it."""
        return self._num_unfinished

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request after `delay_s` and `token_s` for each word.

        Raises:
            EngineError: what `fail` returned, or the request is longer than `max_model_len`.
        """
        async with aclosing(self._run(request, is_streamed=self._token_s > 0)) as pieces:
            completion = [piece async for piece in pieces][-1]
        assert isinstance(completion, Completion)
        return completion

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """The words one by one, `token_s` before each, then the completion.

        Raises:
            EngineError: as `generate`.
        """
        async with aclosing(self._run(request, is_streamed=True)) as pieces:
            async for piece in pieces:
                yield piece

    async def _run(self, request: GenerationRequest, is_streamed: bool) -> AsyncGenerator[str | Completion, None]:
        submitted = now()
        self._num_unfinished += 1
        try:
            num_prompt_tokens = self._admit(request)
            words, is_cut = _answer_words(request)
            scheduled = now()
            await asyncio.sleep(self._delay_s)
            first_token = now()
            for position, word in enumerate(words if is_streamed else ()):
                await asyncio.sleep(self._token_s)
                yield f" {word}" if position else word
            if self._fail is not None and (error := self._fail(request)) is not None:
                raise error
        finally:
            self._num_unfinished -= 1
        yield _completion(words, is_cut, num_prompt_tokens, submitted, scheduled, first_token)

    async def close(self) -> None:
        """Do nothing: there are no processes."""

    def _admit(self, request: GenerationRequest) -> int:
        """Number of prompt words of a request that fits."""
        num_prompt_tokens = self.count_chat_tokens(request.messages)
        if num_prompt_tokens + request.max_tokens > self._max_model_len:
            raise RequestRefusedError(
                f"the prompt has {num_prompt_tokens} words and max_tokens is {request.max_tokens}: together more than "
                f"the fake engine's {self._max_model_len}"
            )
        return num_prompt_tokens


def _completion(
    words: Sequence[str],
    is_cut: bool,
    num_prompt_tokens: int,
    submitted: float,
    scheduled: float,
    first_token: float,
) -> Completion:
    """The completion of a request whose last word is made now."""
    finished = now()
    return Completion(
        text=" ".join(words),
        num_prompt_tokens=num_prompt_tokens,
        num_cached_tokens=0,
        num_output_tokens=len(words),
        finish_reason="length" if is_cut else "stop",
        timing=RequestTiming(submitted, scheduled, scheduled, first_token, finished, now()),
    )


def _answer_words(request: GenerationRequest) -> tuple[list[str], bool]:
    """The answer's words, and whether `max_tokens` cut it."""
    key = repr((request.seed, request.messages, request.max_tokens, request.choices)).encode()
    digest = hashlib.blake2b(key, digest_size=16).digest()
    if request.choices:
        return request.choices[digest[0] % len(request.choices)].split(" "), False
    num_words = digest[1] % (_MAX_WORDS - 2)
    words = [_WORDS[(digest[2] + position) % len(_WORDS)] for position in range(num_words)]
    words += ["Answer:", str(_MIN_ANSWER + digest[0] % _NUM_ANSWERS)]
    return words[: request.max_tokens], len(words) > request.max_tokens
