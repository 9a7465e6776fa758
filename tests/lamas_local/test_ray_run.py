"""Runs on replicas in Ray's processes: rollouts through the loss of replicas, and a real run end to end."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from lamas_local.cli import main
from lamas_local.executor import Plan
from lamas_local.latency import requests
from lamas_local.policy import parse_fixed
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session
from lamas_local.trace import RolloutTrace, read_traces
from tests.lamas_local.builders import make_config, write_config
from tests.serving.ray_engines import NEEDS_RAY, actors, still_running

pytestmark = NEEDS_RAY

ROOT = Path(__file__).parents[2]
REPLICAS = {"kind": "ray", "replicas": 2, "cpus_per_replica": 0.5}
FAKES = {**REPLICAS, "replica": {"kind": "fake", "token_s": 0.02}}
NUM_KILLS, NUM_IN_FLIGHT, NUM_BETWEEN = 5, 12, 24


async def test_killed_under_load_no_rollout_is_lost_or_counted_twice() -> None:
    session = await Session.open(make_config(engine=FAKES))
    plan = parse_fixed("fixed:Generate,GenerateCoT,MultiGenerateCoT+ScEnsemble").layers
    indices, ended, is_over = itertools.count(), list[RolloutTrace](), False

    async def keep_going() -> None:
        while not is_over:
            example = session.task.example("train", next(indices))
            ended.append(await session.executor.run(Plan(example, plan, "layered")))

    running = [asyncio.ensure_future(keep_going()) for _ in range(NUM_IN_FLIGHT)]
    try:
        for _ in range(NUM_KILLS):
            target = len(ended) + NUM_BETWEEN
            await until(lambda: len(ended) >= target)  # noqa: B023
            actors()[0].kill()  # the older one, so that each is killed in turn
            target = len(ended) + NUM_BETWEEN
            await until(lambda: len(ended) >= target and both_answer(ended))  # noqa: B023
        is_over = True
        await asyncio.wait_for(asyncio.gather(*running), 60)
    finally:
        for one in running:
            one.cancel()
        await session.close()
    assert actors() == []
    num_asked = next(indices)
    assert sorted(trace.query_id for trace in ended) == sorted(
        session.task.example("train", index).query.id for index in range(num_asked)
    )
    assert [trace.failure for trace in ended if trace.failure] == []
    spans = [span for trace in ended for span in requests(trace)]
    assert len({span.request_id for span in spans}) == len(spans)
    assert all(span.text for span in spans)
    assert {span.num_retries for span in spans} == {0, 1}
    assert sum(span.num_retries for span in spans) >= NUM_KILLS


async def until(is_so: Callable[[], bool]) -> None:
    for _ in range(1800):
        if is_so():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("waited for three minutes in vain")


def both_answer(ended: list[RolloutTrace]) -> bool:
    """Whether the newest rollouts had both replicas."""
    replicas = {span.replica for trace in ended[-NUM_IN_FLIGHT:] for span in requests(trace)}
    return len(actors()) == 2 and replicas == {"replica-0", "replica-1"}


def test_a_simulated_replica_answers_as_one_in_this_process_does(tmp_path: Path) -> None:
    simulated = {"kind": "simulated", "profile": "gpu-h100-8b"}
    assert main(write_config(tmp_path / "here", engine=simulated)) == 0
    ray = {**REPLICAS, "replica": simulated, "kind": "ray"}
    assert main(write_config(tmp_path / "there", engine=ray)) == 0
    here, there = (RunFolder(tmp_path / name) for name in ("here", "there"))
    for one in (here, there):
        assert json.loads(one.summary.read_text())["clock"] == "simulated"
    # The first step's rollouts do not depend on any clock.
    answers = [
        {(trace.query_id, trace.rollout): trace.answer for trace in read_traces(one.traces) if trace.step == 1}
        for one in (here, there)
    ]
    assert answers[0] == answers[1]


@pytest.mark.engine
@pytest.mark.slow
def test_two_real_replicas_train_and_evaluate_the_quickstart(tmp_path: Path) -> None:
    run, before = tmp_path / "run", set(psutil.Process().children(recursive=True))
    small = [
        "--trainer.num-steps", "2", "--trainer.queries-per-step", "2", "--evaluation.num-queries", "2",
        "--evaluation.policies", '["trained", "fixed:MultiGenerateCoT+ScEnsemble"]',
        "--engine.replica.kv-cache-gib", "0.25",
    ]  # fmt: skip
    assert main(["train", "--config", str(ROOT / "configs" / "ray.yaml"), "--run-dir", str(run), *small]) == 0
    assert main(["evaluate", "--run", str(run), "--evaluation.num-queries", "1"]) == 0
    folder = RunFolder(run)
    traces = read_traces(folder.traces)
    assert {trace.policy for trace in traces} == {"train", "trained", "fixed:MultiGenerateCoT+ScEnsemble"}
    assert [trace.failure for trace in traces if trace.failure] == []
    spans = [span for trace in traces for span in requests(trace)]
    assert {span.replica for span in spans} == {"replica-0", "replica-1"}
    for span in spans:
        timing = span.timing
        assert timing is not None
        assert not timing.is_shifted
        stamps = [timing.submitted, timing.queued, timing.scheduled, timing.first_token, timing.last_token]
        stamps.append(timing.returned)
        assert stamps == sorted(stamps)
        assert timing.scheduled < timing.first_token <= timing.last_token
    assert json.loads(folder.calibration.read_text())["num_requests"] > 0
    assert json.loads(folder.summary.read_text())["policies"]["trained"]["num_failed"] == 0
    assert set(still_running(psutil.Process().children(recursive=True))) <= before
