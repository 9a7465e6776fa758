"""The engine that is elsewhere: any OpenAI-compatible endpoint, or several that serve the same model."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace

from serving.character_tokenizer import CharacterTokenizer
from serving.chat_tokenizer import ChatTokenizer
from serving.clock import now
from serving.endpoint import Endpoint, EndpointError, least_loaded, soonest
from serving.openai_client import OpenAIClient
from serving.openai_startup import load_tokenizer, probe_all, read_key
from serving.types import (
    Completion,
    EngineDeadError,
    EngineStartError,
    GenerationRequest,
    Message,
    RequestRefusedError,
)

CHARACTERS_PER_TOKEN, TEMPLATE_TOKENS = 2.0, 8
"""Where no tokenizer is given: more tokens than English, code or mathematics have, so that prompts are cut early, never
refused. Chinese and the like have more."""


class OpenAIEngine:
    """Completes chats over HTTP, each by the endpoint with the fewest under way.

    All stamps are this process's; when the server began with a request is not known (`RequestTiming.is_client_side`).
    """

    def __init__(
        self,
        client: OpenAIClient,
        endpoints: Sequence[Endpoint],
        tokenizer: ChatTokenizer | CharacterTokenizer,
        *,
        max_model_len: int,
        max_retries: int,
        patience_s: float,
    ) -> None:
        """Use `OpenAIEngine.start`."""
        self._client, self._endpoints = client, endpoints
        self._tokenizer, self._max_model_len = tokenizer, max_model_len
        self._max_retries, self._patience_s = max_retries, patience_s
        self._num_unfinished = 0
        self._closed = asyncio.Event()

    @classmethod
    async def start(
        cls,
        base_urls: Sequence[str],
        model: str,
        *,
        api_key_env: str | None = None,
        max_model_len: int | None = None,
        tokenizer: str | None = None,
        max_retries: int = 5,
        silence_s: float = 120.0,
        patience_s: float = 600.0,
    ) -> OpenAIEngine:
        """Ask every endpoint whether it serves the model; nothing is generated yet.

        Args:
            base_urls: addresses as OpenAI's clients take them: `https://api.openai.com/v1`.
            model: its name there.
            api_key_env: environment variable that holds the key; no key is sent when absent.
            max_model_len: longest prompt plus output in tokens; vLLM's servers say it themselves.
            tokenizer: hub id or folder of the model's tokenizer; lengths are estimated when absent, from above.
            max_retries: attempts after the first, where a failure may pass.
            silence_s: longest time without a byte from an endpoint, also before the first.
            patience_s: a request gives up at once where no endpoint may be asked before it is this old.

        Raises:
            EngineStartError: the key, the tokenizer or the model is not there, or no endpoint answers.
        """
        key = read_key(api_key_env)
        counter: ChatTokenizer | CharacterTokenizer = CharacterTokenizer(CHARACTERS_PER_TOKEN, TEMPLATE_TOKENS)
        if tokenizer is not None:
            counter = await asyncio.to_thread(load_tokenizer, tokenizer)
        client = OpenAIClient(model, key, silence_s)
        endpoints = [Endpoint(url.rstrip("/")) for url in base_urls]
        try:
            served = await probe_all(client, endpoints)
            length = max_model_len or served.max_model_len
            if length is None:
                raise EngineStartError(f"no endpoint says how long a prompt {model!r} takes: set engine.max_model_len")
            if served.max_model_len is not None and length > served.max_model_len:
                raise EngineStartError(
                    f"engine.max_model_len is {length}, but {model!r} is served with {served.max_model_len}"
                )
        except BaseException:
            await client.close()
            raise
        client.is_vllm = served.is_vllm
        return cls(client, endpoints, counter, max_model_len=length, max_retries=max_retries, patience_s=patience_s)

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus output, in tokens."""
        return self._max_model_len

    @property
    def tokenizer(self) -> ChatTokenizer | CharacterTokenizer:
        """The model's own where it was given, else an estimate from above."""
        return self._tokenizer

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens the model sees for `messages`, chat template included."""
        return self._tokenizer.count_chat(messages)

    @property
    def is_dead(self) -> bool:
        """Whether it was closed: endpoints come back."""
        return self._closed.is_set()

    @property
    def num_unfinished(self) -> int:
        """Requests that are at an endpoint or wait for one."""
        return self._num_unfinished

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request. Cancelling the awaiting task closes its connection, upon which vLLM aborts it.

        Raises:
            RequestRefusedError: it is too long, or an endpoint refused it: it is not tried again.
            EndpointError: every attempt failed, or there is no time for one; says where and how the last one did.
            EngineError: the answer is no use: not counted, filtered, or none of the choices.
            EngineDeadError: the engine is closed.
        """
        async with aclosing(self._run(request, is_shown=False)) as pieces:
            completion = [piece async for piece in pieces][-1]
        assert isinstance(completion, Completion)
        return completion

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """The text in pieces as it comes, then the completion. What fails after the first piece is not tried again.

        Raises:
            EngineError: as `generate`.
        """
        async with aclosing(self._run(request, is_shown=True)) as pieces:
            async for piece in pieces:
                yield piece

    async def close(self) -> None:
        """Close every connection; requests under way fail with `EngineDeadError`. Idempotent."""
        self._closed.set()
        await self._client.close()

    async def _run(self, request: GenerationRequest, *, is_shown: bool) -> AsyncGenerator[str | Completion, None]:
        """Attempts until one succeeds. `is_shown`: pieces are given out, so that none may follow a failure."""
        submitted = now()
        num_prompt_tokens = self.count_chat_tokens(request.messages)
        if num_prompt_tokens + request.max_tokens > self._max_model_len:
            raise RequestRefusedError(
                f"the prompt has {num_prompt_tokens} tokens and max_tokens is {request.max_tokens}: together more "
                f"than the model's {self._max_model_len}; shorten the prompt or lower max_tokens"
            )
        num_failed, failed, has_shown = 0, "", False
        self._num_unfinished += 1
        try:
            while True:
                endpoint = await self._free_endpoint(submitted + self._patience_s, failed)
                sent = now()
                try:
                    async with aclosing(self._ask(endpoint, request)) as pieces:
                        async for piece in pieces:
                            if isinstance(piece, Completion):
                                endpoint.succeed()
                                yield replace(piece, timing=replace(piece.timing, submitted=submitted, returned=now()))
                                return
                            if is_shown:
                                has_shown = True
                                yield piece
                except EndpointError as error:
                    self._check_open()
                    endpoint.fail(sent, error.retry_after_s)
                    num_failed, failed = num_failed + 1, str(error)
                    if has_shown or num_failed > self._max_retries:
                        raise EndpointError(f"{failed} (attempt {num_failed} of {self._max_retries + 1})") from error
        finally:
            self._num_unfinished -= 1

    def _check_open(self) -> None:
        if self.is_dead:
            raise EngineDeadError("the engine is closed")

    async def _free_endpoint(self, give_up_at: float, failed: str) -> Endpoint:
        """The least loaded, as soon as one may be asked.

        Raises:
            EndpointError: none may be before `give_up_at`; `failed` says what went wrong last.
        """
        while True:
            self._check_open()
            endpoint = least_loaded(self._endpoints)
            if endpoint is not None:
                return endpoint
            wait_s = soonest(self._endpoints) - now()
            if now() + wait_s > give_up_at:
                raise EndpointError(
                    f"{failed or 'every endpoint has failed'}; none may be asked for {wait_s:.0f} s more"
                )
            # Those that wait for the same moment are spread behind it.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._closed.wait(), wait_s * random.uniform(1.0, 1.25) + 0.001)

    async def _ask(self, endpoint: Endpoint, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """One attempt, which counts at its endpoint while it lasts."""
        endpoint.num_in_flight += 1
        try:
            async with aclosing(
                self._client.ask(endpoint.base_url, request, self._harmless(request.messages))
            ) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            endpoint.num_in_flight -= 1

    def _harmless(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages with the texts of special tokens broken, where the tokenizer tells which those are."""
        if not isinstance(self._tokenizer, ChatTokenizer):
            return messages
        inert = self._tokenizer.inert
        return [replace(message, content=inert(message.content)) for message in messages]
