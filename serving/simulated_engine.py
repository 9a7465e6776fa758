"""An engine without a model: a discrete-event model of continuous batching, on the clock of the running event loop.

In virtual time thousands of requests take seconds; on a real loop a request takes the seconds it is said to take.
What is answered is not the engine's to know: a `Responder` says it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Protocol

from serving.character_tokenizer import CharacterTokenizer
from serving.clock import now
from serving.continuous_batching import BatchLimits, ContinuousBatch, Sequence, StepCost
from serving.types import Completion, EngineDeadError, EngineError, GenerationRequest, Message, RequestTiming


@dataclass(frozen=True, slots=True)
class Response:
    """What a model would write."""

    text: str
    num_output_tokens: int
    """From 1 to the request's `max_tokens`, the end token included."""
    is_cut: bool = False
    """Whether `max_tokens` ended it."""


class Responder(Protocol):
    """Stands in for the model."""

    def respond(self, request: GenerationRequest) -> Response:
        """The response to a request; it may depend on nothing but the request."""
        ...


class SimulatedEngine:
    """Completes chats in the seconds that a model of a continuously batching engine says, and stamps exactly."""

    def __init__(
        self,
        responder: Responder,
        cost: StepCost,
        limits: BatchLimits,
        tokenizer: CharacterTokenizer,
        *,
        max_model_len: int,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Put the model together.

        Args:
            responder: says what is answered, and with how many tokens.
            cost: seconds of a step, and of the ways to the engine and back.
            limits: what fits into a step and into the cache.
            tokenizer: counts prompts.
            max_model_len: longest prompt plus output, in tokens.
            noise: of the steps' seconds, see `ContinuousBatch`; 0 for none.
            seed: of the noise.
        """
        self._responder = responder
        self._cost = cost
        self._limits = limits
        self._tokenizer = tokenizer
        self._max_model_len = max_model_len
        self._batch = ContinuousBatch(cost, limits, noise, seed)
        self._futures: dict[Sequence, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus output, in tokens."""
        return self._max_model_len

    @property
    def tokenizer(self) -> CharacterTokenizer:
        """Counts characters."""
        return self._tokenizer

    def count_chat_tokens(self, messages: Items[Message]) -> int:
        """Number of prompt tokens of `messages`, the template's included."""
        return self._tokenizer.count_chat(messages)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request. Cancelling the awaiting task frees its place at the end of the step under way.

        Raises:
            EngineError: it is longer than `max_model_len` or than the whole cache.
            EngineDeadError: the engine is closed.
        """
        if self._is_closed:
            raise EngineDeadError("the engine is closed")
        submitted = now()
        num_prompt_tokens = self._tokenizer.count_chat(request.messages)
        self._check(num_prompt_tokens, request.max_tokens)
        response = self._responder.respond(request)
        assert 1 <= response.num_output_tokens <= request.max_tokens, response
        sequence = Sequence(
            num_prompt_tokens=num_prompt_tokens,
            num_output_tokens=response.num_output_tokens,
            block_keys=self._tokenizer.block_keys(request.messages, self._limits.block_size),
            arrival=submitted + self._cost.wait_s,
        )
        await self._run(sequence)
        return Completion(
            text=response.text,
            num_prompt_tokens=num_prompt_tokens,
            num_cached_tokens=sequence.num_cached_tokens,
            num_output_tokens=response.num_output_tokens,
            finish_reason="length" if response.is_cut else "stop",
            timing=RequestTiming(
                submitted=submitted,
                queued=sequence.queued,
                scheduled=sequence.scheduled,
                first_token=sequence.first_token,
                last_token=sequence.last_token,
                returned=now(),
            ),
        )

    async def close(self) -> None:
        """Requests in flight fail with `EngineDeadError`, and later ones too. Idempotent."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for future in self._futures.values():
            if not future.done():
                future.set_exception(EngineDeadError("the engine is closed"))

    def _check(self, num_prompt_tokens: int, max_tokens: int) -> None:
        if num_prompt_tokens + max_tokens > self._max_model_len:
            raise EngineError(
                f"the prompt has {num_prompt_tokens} tokens and max_tokens is {max_tokens}: together more than the "
                f"simulated engine's {self._max_model_len}; shorten the prompt or lower max_tokens"
            )
        if self._batch.blocks(num_prompt_tokens, max_tokens) * self._limits.block_size > self._limits.kv_cache_tokens:
            raise EngineError(
                f"the prompt has {num_prompt_tokens} tokens and max_tokens is {max_tokens}: together more than the "
                f"simulated engine's whole cache of {self._limits.kv_cache_tokens}"
            )

    async def _run(self, sequence: Sequence) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures[sequence] = future
        self._batch.submit(sequence)
        self._set_timer()
        try:
            await future
        except asyncio.CancelledError:
            self._batch.abort(sequence, now())
            self._set_timer()
            raise
        finally:
            del self._futures[sequence]

    def _set_timer(self) -> None:
        """The next turn is when the batch says."""
        due = self._batch.due()
        if self._timer is not None:
            if self._timer.when() == due:
                return
            self._timer.cancel()
            self._timer = None
        if due < math.inf:
            self._timer = asyncio.get_running_loop().call_at(due, self._turn)

    def _turn(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for sequence in self._batch.advance():
            future = self._futures.get(sequence)
            if future is not None:  # else cancelled in this very turn of the loop
                loop.call_at(sequence.last_token + self._cost.return_s, _deliver, future)
        self._set_timer()


def _deliver(future: asyncio.Future[None]) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):  # cancelled on the way back
        future.set_result(None)
