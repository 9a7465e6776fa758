"""A replica in a Ray actor, as its caller sees it: Ray's errors are ours, and stamps are of the caller's clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from serving.clock import clock_id, now
from serving.ray_actor import EngineActor, OpenEngine
from serving.remote_timing import Interval, as_seen_by_caller
from serving.replica import ReplicaFacts
from serving.types import Completion, EngineError, GenerationRequest, ReplicaLostError

MAX_CONCURRENCY = 10_000
"""Requests at a replica at once; how many are in the engine is the engine's to say."""
CLOSE_S = 10.0
"""Seconds an engine has to end by itself."""


class RayReplica:
    """`Replica`: an `EngineActor` that Ray starts again whenever it dies."""

    def __init__(self, name: str, open_engine: OpenEngine, *, num_cpus: float, num_gpus: float) -> None:
        """Ask Ray for the actor's process, on a node with as few others as there is; `start` waits for it."""
        import ray

        self._name = name
        actor = ray.remote(
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=MAX_CONCURRENCY,
            scheduling_strategy="SPREAD",
        )(EngineActor)
        self._actor: Any = actor.remote(open_engine)
        self._is_same_clock = False

    @property
    def name(self) -> str:
        """Of the replica, not of its process."""
        return self._name

    async def start(self) -> ReplicaFacts:
        """Wait for the actor's process, the next one where it died, and start its engine.

        Raises:
            EngineStartError: the engine cannot start.
            EngineError: the process died while it started.
        """
        with self._our_errors():
            # With a retry Ray keeps the call while the next process is on its way; without one it refuses it.
            facts: ReplicaFacts = await self._actor.start.options(max_task_retries=1).remote()
        self._is_same_clock = facts.clock_id == clock_id()
        return facts

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request. Cancelling the awaiting task cancels it in the actor.

        Raises:
            ReplicaLostError: the actor's process is gone.
            EngineError: the request failed.
        """
        submitted = now()
        with self._our_errors():
            reference = self._actor.generate.remote(request)
            try:
                completion = await reference
            except asyncio.CancelledError:
                _cancel(reference)
                raise
        return self._in_our_time(completion, submitted)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """The text in pieces, then the completion. Closing the generator cancels it in the actor.

        Raises:
            EngineError: as `generate`.
        """
        submitted, is_whole = now(), False
        with self._our_errors():
            references = self._actor.stream.options(num_returns="streaming").remote(request)
            try:
                async for reference in references:
                    piece = await reference
                    if isinstance(piece, Completion):
                        is_whole = True
                        piece = self._in_our_time(piece, submitted)
                    yield piece
            finally:
                if not is_whole:
                    _cancel(references)

    async def close(self) -> None:
        """End the engine, then the actor."""
        import ray

        with suppress(Exception):  # whatever keeps it from ending by itself, its process ends now
            await asyncio.wait_for(self._actor.close.remote(), CLOSE_S)
        with suppress(Exception):
            ray.kill(self._actor, no_restart=True)

    @contextmanager
    def _our_errors(self) -> Iterator[None]:
        from ray.exceptions import RayActorError, RayError, RayTaskError

        try:
            yield
        except RayActorError as error:
            raise ReplicaLostError(f"{self._name} is gone") from error
        except RayTaskError as error:
            if isinstance(error.cause, EngineError | ValueError):  # ours, or what a user asked for cannot be
                raise error.cause from error
            raise EngineError(f"{self._name} failed: {error.cause!r}") from error
        except RayError as error:
            raise EngineError(f"{self._name}: Ray says {error}") from error

    def _in_our_time(self, completion: Completion, submitted: float) -> Completion:
        caller = Interval(submitted, now())
        timing = as_seen_by_caller(completion.timing, caller, is_same_clock=self._is_same_clock)
        return replace(completion, timing=timing)


def _cancel(reference: Any) -> None:
    import ray

    with suppress(Exception):  # it may be gone with its actor
        ray.cancel(reference)
