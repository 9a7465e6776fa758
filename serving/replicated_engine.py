"""One engine out of several replicas: places requests, and gives those of a lost replica to another, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from serving.clock import now
from serving.placement import Placement
from serving.replica import Replica
from serving.types import (
    Completion,
    EngineDeadError,
    EngineError,
    GenerationRequest,
    Message,
    ReplicaLostError,
    Tokenizer,
)

MAX_RETRIES = 1
"""A request that is lost with its second replica may well be what ends them."""
MAX_STARTS = 3
"""A lost replica that does not start again so often in a row is given up."""
START_AGAIN_S = 1.0
"""Between two such attempts, twice as long after each."""
CHARACTERS_PER_TOKEN = 4
"""Rough: only loads are compared by it."""
ClosePlace = Callable[[], Awaitable[None]]


class ReplicatedEngine:
    """Started by `ReplicatedEngine.start`; a `StreamingEngine`."""

    def __init__(
        self,
        replicas: Sequence[Replica],
        placement: Placement,
        max_model_len: int,
        tokenizer: Tokenizer,
        close_place: ClosePlace | None,
    ) -> None:
        """Use `ReplicatedEngine.start`."""
        self._replicas = replicas
        self._close_place = close_place
        self._placement = placement
        self._max_model_len = max_model_len
        self._tokenizer = tokenizer
        self._reviving: dict[int, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        """Set, and replaced by a new one, when a replica is ready again or given up."""
        self._is_closed = False

    @classmethod
    async def start(cls, replicas: Sequence[Replica], *, close_place: ClosePlace | None = None) -> ReplicatedEngine:
        """Start the replicas one after another: each may need the machine to itself while it loads.

        Args:
            replicas: at least one; all answer alike.
            close_place: ends what the replicas are in, after them.

        Raises:
            EngineStartError: one of them cannot start; all are closed.
            EngineError: one was lost before it had started; all are closed.
        """
        try:
            facts = [await one.start() for one in replicas]
        except BaseException:
            await _close(replicas, close_place)
            raise
        placement = Placement(len(replicas))
        return cls(replicas, placement, facts[0].max_model_len, facts[0].tokenizer, close_place)

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus output, in tokens."""
        return self._max_model_len

    @property
    def tokenizer(self) -> Tokenizer:
        """The replicas' own."""
        return self._tokenizer

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens the model sees for `messages`, chat template included."""
        return self._tokenizer.count_chat(messages)

    @property
    def is_dead(self) -> bool:
        """Whether it was closed, or every replica has been given up."""
        has_one = bool(self._reviving) or any(load.is_ready for load in self._placement.loads)
        return self._is_closed or not has_one

    @property
    def num_unfinished(self) -> int:
        """Requests at the replicas."""
        return sum(load.num_requests for load in self._placement.loads)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request at a replica; where that is lost, at another one.

        Raises:
            EngineError: the request failed, or was lost with two replicas.
            EngineDeadError: the engine was closed, or no replica is left.
        """
        submitted, lost = now(), list[str]()
        while True:
            async with self._placed(request) as chosen:
                try:
                    completion = await chosen.generate(request)
                except ReplicaLostError as error:
                    self._note_loss(request, chosen, lost, error)
                else:
                    return _named(completion, chosen, submitted, len(lost))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """The text in pieces, then the completion. What has given text already is not begun again.

        Raises:
            EngineError: as `generate`.
        """
        submitted, lost, has_text = now(), list[str](), False
        while True:
            async with self._placed(request) as chosen:
                try:
                    async with aclosing(chosen.stream(request)) as pieces:
                        async for piece in pieces:
                            if isinstance(piece, Completion):
                                yield _named(piece, chosen, submitted, len(lost))
                                return
                            has_text = True
                            yield piece
                    raise EngineError(f"{chosen.name} ended the request without an answer")
                except ReplicaLostError as error:
                    if has_text:
                        raise EngineError(f"{chosen.name} was lost in the middle of its answer") from error
                    self._note_loss(request, chosen, lost, error)

    async def close(self) -> None:
        """End the replicas; requests in flight fail with `EngineDeadError`. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._tell()
        for task in self._reviving.values():
            task.cancel()
        await asyncio.gather(*self._reviving.values(), return_exceptions=True)
        await _close(self._replicas, self._close_place)

    @asynccontextmanager
    async def _placed(self, request: GenerationRequest) -> AsyncIterator[Replica]:
        """A replica that is ready, with the request counted as in flight there."""
        num_tokens = request.max_tokens + sum(len(one.content) for one in request.messages) // CHARACTERS_PER_TOKEN
        while (index := None if self._is_closed else self._placement.choose()) is None:
            if self.is_dead:
                raise EngineDeadError(
                    "the engine is closed" if self._is_closed else "no replica could be started again"
                )
            await self._changed.wait()
        self._placement.add(index, num_tokens)
        try:
            yield self._replicas[index]
        finally:
            self._placement.remove(index, num_tokens)

    def _note_loss(self, request: GenerationRequest, replica: Replica, lost: list[str], error: EngineError) -> None:
        """Bring the replica back; the request may go on to another one unless it was lost too often."""
        if self._is_closed:
            raise EngineDeadError("the engine is closed") from error
        index = self._replicas.index(replica)
        if self._placement.loads[index].is_ready:
            self._placement.loads[index].is_ready = False
            self._reviving[index] = asyncio.ensure_future(self._revive(index))
        lost.append(replica.name)
        if len(lost) > MAX_RETRIES:
            raise EngineError(f"request {request.request_id} was lost with {' and then '.join(lost)}") from error

    async def _revive(self, index: int) -> None:
        """Make a lost replica ready again, or give it up."""
        wait_s = START_AGAIN_S
        try:
            for _ in range(MAX_STARTS):
                try:
                    await self._replicas[index].start()
                except (EngineError, ValueError):
                    await asyncio.sleep(wait_s)
                    wait_s *= 2
                else:
                    self._placement.loads[index].is_ready = True
                    return
        finally:
            del self._reviving[index]
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _named(completion: Completion, replica: Replica, submitted: float, num_retries: int) -> Completion:
    """A completion that says where it was made and how often it was begun again."""
    timing = replace(completion.timing, submitted=submitted)
    return replace(completion, timing=timing, replica=replica.name, num_retries=num_retries)


async def _close(replicas: Sequence[Replica], close_place: ClosePlace | None) -> None:
    """End all replicas, also where one fails to, and then their place."""
    try:
        results = await asyncio.gather(*(one.close() for one in replicas), return_exceptions=True)
    finally:
        if close_place is not None:
            await close_place()
    for result in results:
        if isinstance(result, BaseException):
            raise result
