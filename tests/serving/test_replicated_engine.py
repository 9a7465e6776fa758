"""Placement, loss and return, with replicas in this process and in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from lamas_local.virtual_time import run_virtually
from serving.clock import clock_id
from serving.fake_engine import FakeEngine
from serving.replica import ReplicaFacts
from serving.replicated_engine import MAX_STARTS, ReplicatedEngine
from serving.types import (
    Completion,
    EngineDeadError,
    EngineError,
    EngineStartError,
    GenerationRequest,
    Message,
    ReplicaLostError,
)

RESTART_S = 5.0


class LosableReplica:
    """A fake engine that can be lost with what runs on it, and takes `RESTART_S` to come back."""

    def __init__(self, name: str, num_failed_starts: int = 0) -> None:
        self.name = name
        self.engine = FakeEngine(token_s=0.1)
        self.num_failed_starts = num_failed_starts
        """Of those after a loss."""
        self.num_starts = 0
        self.is_closed = False
        self._lost = asyncio.Event()

    def lose(self) -> None:
        """What runs there is gone, and what comes before it was started again fails alike."""
        self._lost.set()

    async def start(self) -> ReplicaFacts:
        if self._lost.is_set():
            await asyncio.sleep(RESTART_S)
            self.num_starts += 1
            if self.num_starts <= self.num_failed_starts:
                raise EngineStartError("no memory is left")
            self._lost = asyncio.Event()
        return ReplicaFacts(self.engine.max_model_len, self.engine.tokenizer, clock_id())

    async def generate(self, request: GenerationRequest) -> Completion:
        async with aclosing(self.stream(request)) as pieces:
            completion = [piece async for piece in pieces][-1]
        assert isinstance(completion, Completion)
        return completion

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        lost = self._lost
        async with aclosing(self.engine.stream(request)) as pieces:
            async for piece in pieces:
                if lost.is_set():
                    raise ReplicaLostError(f"{self.name} is gone")
                yield piece

    async def close(self) -> None:
        self.is_closed = True


def ask(number: int) -> GenerationRequest:
    return GenerationRequest(f"request-{number}", (Message("user", "Count."),), 40, 1.0, seed=number)


Test = Callable[[ReplicatedEngine, list[LosableReplica]], Coroutine[Any, Any, None]]


def on_replicas(num_replicas: int, test: Test, **changes: Any) -> None:
    """Run a test in virtual time on that many; nothing may be left running or closed too late."""

    async def main() -> None:
        replicas = [LosableReplica(f"replica-{index}", **changes) for index in range(num_replicas)]
        closed: list[bool] = []

        async def close_place() -> None:
            closed.extend(one.is_closed for one in replicas)

        engine = await ReplicatedEngine.start(replicas, close_place=close_place)
        await test(engine, replicas)
        assert engine.num_unfinished == 0
        await engine.close()
        assert closed == [True] * num_replicas
        assert engine.is_dead
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtually(main())


def test_requests_are_spread_and_named() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        completions = await asyncio.gather(*(engine.generate(ask(number)) for number in range(6)))
        assert [one.replica for one in completions].count("replica-0") == 3
        assert {one.num_retries for one in completions} == {0}

    on_replicas(2, test)


def test_what_was_on_a_lost_replica_ends_elsewhere_once_and_says_so() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        asked = [asyncio.ensure_future(engine.generate(ask(number))) for number in range(6)]
        await asyncio.sleep(0.15)
        replicas[0].lose()
        completions = await asyncio.gather(*asked)
        assert {(one.replica, one.num_retries) for one in completions} == {("replica-1", 0), ("replica-1", 1)}
        assert sum(one.num_retries for one in completions) == 3
        for number, completion in enumerate(completions):
            assert completion.timing.submitted == 0
            assert completion.text == (await FakeEngine().generate(ask(number))).text
        assert engine.num_unfinished == 0
        await asyncio.sleep(RESTART_S)
        assert (await engine.generate(ask(9))).replica == "replica-0"

    on_replicas(2, test)


def test_what_is_lost_twice_is_an_error_that_names_both() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        asked = asyncio.ensure_future(engine.generate(ask(0)))
        await asyncio.sleep(0.15)
        replicas[0].lose()
        await asyncio.sleep(0.15)
        replicas[1].lose()
        with pytest.raises(EngineError, match="request-0 was lost with replica-0 and then replica-1"):
            await asked
        assert not engine.is_dead
        # A later one waits for the first that is back.
        assert (await engine.generate(ask(1))).num_retries == 0

    on_replicas(2, test)


def test_the_only_replica_s_requests_wait_for_its_return() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        asked = asyncio.ensure_future(engine.generate(ask(0)))
        await asyncio.sleep(0.15)
        replicas[0].lose()
        completion = await asked
        assert (completion.replica, completion.num_retries) == ("replica-0", 1)
        assert completion.timing.scheduled > RESTART_S

    on_replicas(1, test)


def test_a_start_that_fails_is_tried_again() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        replicas[0].lose()
        assert (await engine.generate(ask(0))).num_retries == 1
        assert replicas[0].num_starts == MAX_STARTS

    on_replicas(1, test, num_failed_starts=MAX_STARTS - 1)


def test_an_engine_without_replicas_is_dead() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        replicas[0].lose()
        with pytest.raises(EngineDeadError, match="no replica could be started again"):
            await engine.generate(ask(0))
        assert engine.is_dead

    on_replicas(1, test, num_failed_starts=MAX_STARTS)


def test_a_stream_is_begun_again_only_before_its_first_text() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        async def read(number: int) -> list[str | Completion]:
            async with aclosing(engine.stream(ask(number))) as pieces:
                return [piece async for piece in pieces]

        asked = asyncio.ensure_future(read(0))
        await asyncio.sleep(0.05)
        replicas[0].lose()
        *texts, completion = await asked
        assert isinstance(completion, Completion)
        assert (completion.replica, completion.num_retries) == ("replica-1", 1)
        assert "".join(map(str, texts)) == completion.text

        asked = asyncio.ensure_future(read(1))
        await asyncio.sleep(0.25)
        replicas[1].lose()
        with pytest.raises(EngineError, match="replica-1 was lost in the middle of its answer"):
            await asked

    on_replicas(2, test)


def test_closing_ends_what_waits_for_a_replica() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        replicas[0].lose()
        asked = asyncio.ensure_future(engine.generate(ask(0)))
        await asyncio.sleep(1)
        await engine.close()
        with pytest.raises(EngineDeadError, match="the engine is closed"):
            await asked

    on_replicas(1, test)


def test_a_cancelled_request_is_no_longer_counted() -> None:
    async def test(engine: ReplicatedEngine, replicas: list[LosableReplica]) -> None:
        asked = asyncio.ensure_future(engine.generate(ask(0)))
        await asyncio.sleep(0.15)
        assert engine.num_unfinished == 1
        asked.cancel()
        await asyncio.wait([asked])
        assert (engine.num_unfinished, replicas[0].engine.num_unfinished) == (0, 0)

    on_replicas(1, test)


def test_a_replica_that_cannot_start_closes_all() -> None:
    async def main() -> None:
        replicas = [LosableReplica("replica-0"), LosableReplica("replica-1", num_failed_starts=1)]
        replicas[1].lose()
        with pytest.raises(EngineStartError, match="no memory is left"):
            await ReplicatedEngine.start(replicas)
        assert [one.is_closed for one in replicas] == [True, True]

    run_virtually(main())
