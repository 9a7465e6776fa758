from __future__ import annotations

import asyncio
import time

import pytest

from serving.admission import AdmittedEngine
from serving.fake_engine import FakeEngine
from serving.types import Completion, EngineError, GenerationRequest, RequestTimeoutError
from tests.serving.conftest import RequestFactory


class RecordingEngine(FakeEngine):
    """Notes which requests entered, which were aborted, and how many were in it at once."""

    def __init__(self, delay_s: float = 0.0) -> None:
        super().__init__(delay_s=delay_s)
        self.entered: list[str] = []
        self.aborted: list[str] = []
        self.num_inside = 0
        self.most_inside = 0

    async def generate(self, request: GenerationRequest) -> Completion:
        self.entered.append(request.request_id)
        self.num_inside += 1
        self.most_inside = max(self.most_inside, self.num_inside)
        try:
            return await super().generate(request)
        except asyncio.CancelledError:
            self.aborted.append(request.request_id)
            raise
        finally:
            self.num_inside -= 1


async def test_bound_holds_and_order_is_that_of_arrival(make_request: RequestFactory) -> None:
    engine = RecordingEngine(delay_s=0.005)
    admitted = AdmittedEngine(engine, max_in_flight=3)
    requests = [make_request(seed=seed) for seed in range(20)]
    await asyncio.gather(*(admitted.generate(request) for request in requests))
    assert engine.most_inside == 3
    assert engine.entered == [request.request_id for request in requests]


@pytest.mark.parametrize(("requests_per_s", "num_requests", "shortest_s"), [(20.0, 30, 1.0), (2.5, 3, 0.8)])
async def test_rate_limit_delays_what_exceeds_it(
    make_request: RequestFactory, requests_per_s: float, num_requests: int, shortest_s: float
) -> None:
    engine = RecordingEngine()
    admitted = AdmittedEngine(engine, requests_per_s=requests_per_s)
    requests = [make_request(seed=seed) for seed in range(num_requests)]
    started = time.monotonic()
    await asyncio.gather(*(admitted.generate(request) for request in requests))
    assert shortest_s <= time.monotonic() - started < shortest_s + 3.0
    assert engine.entered == [request.request_id for request in requests]


async def test_deadline_aborts_in_the_engine(make_request: RequestFactory) -> None:
    engine = RecordingEngine(delay_s=5)
    request = make_request()
    with pytest.raises(RequestTimeoutError, match=r"deadline of 0\.05 s"):
        await AdmittedEngine(engine, deadline_s=0.05).generate(request)
    assert engine.aborted == [request.request_id]


async def test_deadline_includes_the_admission_wait(make_request: RequestFactory) -> None:
    engine = RecordingEngine(delay_s=0.6)
    admitted = AdmittedEngine(engine, max_in_flight=1, deadline_s=1.0)
    first, second = make_request(), make_request()
    results = await asyncio.gather(admitted.generate(first), admitted.generate(second), return_exceptions=True)
    assert isinstance(results[0], Completion)
    assert isinstance(results[1], RequestTimeoutError)


async def test_submitted_is_when_the_caller_came(make_request: RequestFactory) -> None:
    admitted = AdmittedEngine(FakeEngine(delay_s=0.1), max_in_flight=1)
    first, waited = await asyncio.gather(admitted.generate(make_request()), admitted.generate(make_request()))
    assert waited.timing.submitted < first.timing.last_token < waited.timing.queued


@pytest.mark.parametrize("requests_per_s", [None, 1000.0])
async def test_cancelled_requests_free_their_slots(make_request: RequestFactory, requests_per_s: float | None) -> None:
    engine = RecordingEngine(delay_s=0.5)
    admitted = AdmittedEngine(engine, max_in_flight=2, requests_per_s=requests_per_s)
    tasks = [asyncio.ensure_future(admitted.generate(make_request(seed=seed))) for seed in range(6)]
    await asyncio.sleep(0.02)
    for task in tasks:  # two are in the engine, four wait at the door
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert len(engine.aborted) == 2
    assert engine.num_inside == 0
    await asyncio.wait_for(asyncio.gather(*(admitted.generate(make_request()) for _ in range(4))), timeout=10)


async def test_failed_requests_free_their_slots(make_request: RequestFactory) -> None:
    admitted = AdmittedEngine(FakeEngine(fail=lambda request: EngineError("always")), max_in_flight=1)
    for _ in range(3):
        with pytest.raises(EngineError, match="always"):
            await asyncio.wait_for(admitted.generate(make_request()), timeout=1)


async def test_the_rest_is_the_engines_own(make_request: RequestFactory) -> None:
    engine = FakeEngine(max_model_len=77)
    admitted = AdmittedEngine(engine)
    messages = make_request().messages
    assert admitted.max_model_len == 77
    assert admitted.tokenizer is engine.tokenizer
    assert admitted.count_chat_tokens(messages) == engine.count_chat_tokens(messages)
