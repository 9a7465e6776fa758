"""The process that compares: what hangs scores 0, answers stay with their callers, and nothing outlives its owner."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio

from lamas_local.tasks.math_verifier import MathVerifier

HANGS = ("5", "9^{9^{9^{9}}}")
OWNER = """
import asyncio, os
from lamas_local.tasks.math_verifier import MathVerifier

async def main():
    verifier = MathVerifier(job_cpu_s=60)
    await verifier.is_equal("1", "1")
    job = asyncio.ensure_future(verifier.is_equal({gold!r}, {answer!r})) if {is_busy} else None
    await asyncio.sleep(0.3)
    print("working", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def verifier() -> AsyncIterator[MathVerifier]:
    verifier = MathVerifier(job_cpu_s=1.0)
    yield verifier
    await verifier.close()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_stuck_job_scores_0_and_the_next_ones_are_answered(verifier: MathVerifier) -> None:
    started = time.monotonic()
    answers = await asyncio.gather(
        verifier.is_equal("x+1", "1+x"), verifier.is_equal(*HANGS), verifier.is_equal("x+2", "2+x")
    )
    assert list(answers) == [True, False, True]
    assert time.monotonic() - started < 60


@pytest.mark.asyncio(loop_scope="module")
async def test_the_event_loop_is_never_blocked(verifier: MathVerifier) -> None:
    job = asyncio.ensure_future(verifier.is_equal(*HANGS))
    longest, last = 0.0, time.monotonic()
    while not job.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 0.5


@pytest.mark.asyncio(loop_scope="module")
async def test_cancelled_callers_do_not_shift_answers(verifier: MathVerifier) -> None:
    """Some cancelled while they wait for their turn, some while the worker works on their job."""
    pairs = [(f"x+{i}", f"{i if i % 3 else i + 1}+x") for i in range(30)]
    jobs = [asyncio.ensure_future(verifier.is_equal(*pair)) for pair in pairs]
    for i in range(0, 30, 2):
        await asyncio.sleep(0.005)
        jobs[i].cancel()
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    for i in range(1, 30, 2):
        assert answers[i] is (i % 3 != 0)
    assert any(isinstance(answer, asyncio.CancelledError) for answer in answers)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_worker_killed_from_outside_costs_no_score(verifier: MathVerifier) -> None:
    assert await verifier.is_equal("1", "1")
    assert verifier._worker is not None
    verifier._worker.kill()
    assert await verifier.is_equal("x+1", "1+x")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "answer", ["", "{" * 99, "\\" * 9, "(" * 3000, "\n", "\x00", "\ud83d", "\\frac{1}{0}", "$" * 99, "true"]
)
async def test_strange_answers_are_not_equal(verifier: MathVerifier, answer: str) -> None:
    assert not await verifier.is_equal("x+1", answer)
    assert await verifier.is_equal("x+1", "1+x")


async def test_close_ends_the_worker_and_those_who_wait() -> None:
    verifier = MathVerifier()
    assert await verifier.is_equal("1", "1")
    assert verifier._worker is not None
    pid = verifier._worker.pid
    jobs = [asyncio.ensure_future(verifier.is_equal(*HANGS)) for _ in range(2)]
    await asyncio.sleep(0.1)
    await verifier.close()
    assert not psutil.pid_exists(pid)
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    assert all(isinstance(answer, RuntimeError) and "closed" in str(answer) for answer in answers)
    with pytest.raises(RuntimeError, match="closed"):
        await verifier.is_equal("1", "1")


async def test_close_without_a_worker() -> None:
    await MathVerifier().close()


async def test_a_worker_that_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="before it was ready"):
        await MathVerifier().is_equal("1", "1")


@pytest.mark.parametrize("is_busy", [False, True])
def test_no_worker_outlives_its_killed_owner(is_busy: bool) -> None:
    """Idle, it sees its input close; busy, the limit of its job ends it."""
    code = OWNER.format(gold=HANGS[0], answer=HANGS[1], is_busy=is_busy).replace("job_cpu_s=60", "job_cpu_s=2")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "working\n"
        workers = psutil.Process(owner.pid).children()
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert len(workers) == 1
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
