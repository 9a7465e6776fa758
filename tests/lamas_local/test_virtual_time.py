from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.virtual_time import VirtualTimeError, run_virtually
from serving.admission import AdmittedEngine
from serving.clock import now
from serving.fake_engine import FakeEngine
from serving.types import GenerationRequest, Message


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0, 1e9))
def test_timers_run_in_order_and_exactly_when_they_are_due(delays: list[float], start: float) -> None:
    seen: list[tuple[float, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        due = [start + delay for delay in delays]
        for when in due:
            loop.call_at(when, lambda when=when: seen.append((when, now())))  # type: ignore[misc]
        await asyncio.sleep(max(delays) + 1e-3 * max(start, 1.0))

    run_virtually(main(), start)
    assert [when for when, _ in seen] == sorted(start + delay for delay in delays)
    assert all(when == at for when, at in seen)


def test_an_hour_takes_no_time() -> None:
    started = time.monotonic()
    run_virtually(asyncio.sleep(3600))
    assert time.monotonic() - started < 5


def test_everybody_waiting_for_somebody_is_an_error_with_a_reason() -> None:
    with pytest.raises(VirtualTimeError, match="everybody waits for somebody"):
        run_virtually(asyncio.Event().wait())


def test_a_thread_is_waited_for_while_virtual_time_stands_still() -> None:
    async def main() -> tuple[str, float]:
        sleeping = asyncio.create_task(asyncio.sleep(1000))
        text = await asyncio.to_thread(lambda: time.sleep(0.05) or "done")  # type: ignore[func-returns-value]
        ended = now()
        await sleeping
        return text, ended

    assert run_virtually(main()) == ("done", 0.0)


def test_processes_and_sockets_are_refused() -> None:
    async def process() -> None:
        await asyncio.create_subprocess_exec(sys.executable, "-c", "")

    async def socket() -> None:
        await asyncio.open_connection("127.0.0.1", 9)

    async def server() -> None:
        await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)

    with pytest.raises(VirtualTimeError, match="takes real seconds"):
        run_virtually(process())
    with pytest.raises(VirtualTimeError, match="takes real seconds"):
        run_virtually(server())
    with pytest.raises(VirtualTimeError, match="takes real seconds"):
        run_virtually(socket())


def test_what_is_left_running_is_cancelled() -> None:
    cancelled = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e9)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(forever())
        await asyncio.sleep(1.0)
        return task

    assert run_virtually(main()).cancelled()
    assert cancelled == [1.0]


def test_signals_reach_a_loop_that_never_waits() -> None:
    async def main() -> float:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stop.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        while not stop.is_set():  # noqa: ASYNC110  # a loop that always has something to do is the point
            await asyncio.sleep(1.0)
        return now()

    assert run_virtually(main()) < 10_000


def test_on_a_real_loop_the_clock_is_monotonic_time() -> None:
    async def main() -> tuple[float, float, float]:
        return time.monotonic(), now(), time.monotonic()

    before, stamp, after = asyncio.run(main())
    assert before <= stamp <= after


def test_deadlines_and_rate_limits_count_virtual_seconds() -> None:
    async def main() -> list[float]:
        engine = AdmittedEngine(FakeEngine(delay_s=2.0), requests_per_s=0.5, deadline_s=1e6)
        requests = [GenerationRequest(str(i), (Message("user", "2 + 2?"),), 8, 1.0, seed=i) for i in range(4)]
        done = await asyncio.gather(*(engine.generate(request) for request in requests))
        return [completion.timing.scheduled for completion in done]

    entered = run_virtually(main())
    assert entered == pytest.approx([0.0, 2.0, 4.0, 6.0], abs=0.1)
