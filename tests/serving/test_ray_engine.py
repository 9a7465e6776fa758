"""Replicas in Ray's processes: fake engines, whose logic is known, in real time."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from serving.fake_engine import FakeEngine
from serving.ray_engine import start_ray_engine
from serving.replicated_engine import ReplicatedEngine
from serving.types import Completion, EngineStartError, RequestRefusedError
from tests.serving.ray_engines import NEEDS_RAY, actors, ask, marked, open_watched, start_fakes, still_running

pytestmark = [NEEDS_RAY, pytest.mark.asyncio(loop_scope="module")]

NUM_KILLS, NUM_IN_FLIGHT, NUM_BETWEEN = 5, 40, 120


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the watched engines leave word."""
    return tmp_path_factory.mktemp("watched")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(folder: Path) -> AsyncIterator[ReplicatedEngine]:
    """Two watched fakes in a cluster of this process; what it leaves behind is an error."""
    others = marked(psutil.Process())  # an engine of the whole test run, perhaps
    engine = await start_ray_engine(
        functools.partial(open_watched, folder),
        num_replicas=2,
        address="local",
        cpus_per_replica=0.5,
        gpus_per_replica=1,  # of which there are none, so that the replicas need none
    )
    yield engine
    started = [one for one in marked(psutil.Process()) if one not in others]
    await engine.close()
    assert len(started) > 2
    assert not still_running(started)


async def test_replicas_answer_as_their_engine_does(engine: ReplicatedEngine) -> None:
    requests = [ask(f"number-{number}") for number in range(8)]
    before = time.monotonic()
    completions = await asyncio.gather(*map(engine.generate, requests))
    assert {one.replica for one in completions} == {"replica-0", "replica-1"}
    assert engine.max_model_len == 2048
    for request, completion in zip(requests, completions, strict=True):
        alone = await FakeEngine().generate(request)
        assert completion.text == alone.text
        assert completion.num_prompt_tokens == engine.count_chat_tokens(request.messages)
        timing = completion.timing
        stamps = [before, timing.submitted, timing.queued, timing.scheduled, timing.first_token, timing.last_token]
        stamps += [timing.returned, time.monotonic()]
        assert stamps == sorted(stamps)
        assert not timing.is_shifted
        assert timing.last_token - timing.first_token >= 0.9 * 0.02 * completion.num_output_tokens


async def test_a_stream_comes_in_pieces(engine: ReplicatedEngine) -> None:
    times: list[float] = []
    pieces: list[str | Completion] = []
    async for piece in engine.stream(ask("streamed")):
        pieces.append(piece)
        times.append(time.monotonic())
    *texts, completion = pieces
    assert isinstance(completion, Completion)
    assert "".join(map(str, texts)) == completion.text
    assert len(texts) == completion.num_output_tokens
    assert times[-1] - times[0] > 0.5 * 0.02 * len(texts)


async def test_what_the_engine_refuses_is_its_own_error(engine: ReplicatedEngine) -> None:
    with pytest.raises(RequestRefusedError, match="together more than the fake engine's 2048"):
        await engine.generate(ask("long", max_tokens=2048))


async def test_cancelling_reaches_the_engine(engine: ReplicatedEngine, folder: Path) -> None:
    asked = asyncio.ensure_future(engine.generate(ask("abandoned")))
    await asyncio.sleep(0.1)
    asked.cancel()
    await asyncio.wait([asked])
    give_up_at = time.monotonic() + 5
    while not (folder / "cancelled-abandoned").exists():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.05)
    assert engine.num_unfinished == 0


async def test_a_replica_whose_engine_dies_is_replaced(engine: ReplicatedEngine) -> None:
    before = {one.pid for one in actors()}
    completion = await engine.generate(ask("deadly", "die"))
    assert completion.num_retries == 1
    await wait_for_both(engine)
    assert len({one.pid for one in actors()} & before) == 1


async def wait_for_both(engine: ReplicatedEngine) -> None:
    """Until both replicas answer."""
    give_up_at = time.monotonic() + 60
    while not all(load.is_ready for load in engine._placement.loads):
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.05)
    completions = await asyncio.gather(*(engine.generate(ask(f"back-{number}")) for number in range(2)))
    assert {one.replica for one in completions} == {"replica-0", "replica-1"}


async def test_killed_under_load_every_request_ends_once_and_says_that_it_was_begun_again(
    engine: ReplicatedEngine,
) -> None:
    asked: list[str] = []
    ended: list[tuple[str, Completion]] = []
    is_over = False

    async def keep_asking() -> None:
        while not is_over:
            name = f"loaded-{len(asked)}"
            asked.append(name)
            ended.append((name, await engine.generate(ask(name))))

    load = [asyncio.ensure_future(keep_asking()) for _ in range(NUM_IN_FLIGHT)]
    for _ in range(NUM_KILLS):
        seen = len(ended)
        while len(ended) < seen + NUM_BETWEEN:
            await asyncio.sleep(0.05)
            assert not any(one.done() for one in load)
        killed_at, num_asked = time.monotonic(), len(asked)
        actors()[0].kill()  # the older one, so that each is killed in turn
        while (
            {one.replica for _, one in ended if one.timing.scheduled > killed_at} != {"replica-0", "replica-1"}
            # Or the next kill would meet a request that this one has met, and a request is begun again only once.
            or not {name for name, _ in ended}.issuperset(asked[:num_asked])
        ):
            assert time.monotonic() < killed_at + 60
            await asyncio.sleep(0.05)
    is_over = True
    await asyncio.wait_for(asyncio.gather(*load), 60)
    assert sorted(name for name, _ in ended) == sorted(asked)
    retried = [one for _, one in ended if one.num_retries]
    assert NUM_KILLS <= len(retried) <= NUM_KILLS * NUM_IN_FLIGHT
    assert {one.num_retries for one in retried} == {1}
    assert engine.num_unfinished == 0


async def test_a_process_has_one_cluster(engine: ReplicatedEngine) -> None:
    with pytest.raises(EngineStartError, match="has a Ray cluster already"):
        await start_fakes()
