"""The benchmarks of the server on a small server in this process; how they are computed, on values by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import serve_budget, serve_overhead, serve_soak
from bench.chat_load import Block, Reply, chat_bodies, run_block
from bench.served_process import flags
from tests.lamas_local.builders import OneProblemTask, make_config
from tests.serving.http.running import CountingEngine, EngineBackend, running

CONFIG = make_config()
MAINS: list[tuple[str, Callable[[list[str]], int]]] = [
    ("serve_budget", serve_budget.main),
    ("serve_overhead", serve_overhead.main),
    ("serve_soak", serve_soak.main),
]


def reply(seconds: float, text: str | None = "4", tokens: int = 10) -> Reply:
    return Reply(seconds, 200, text, tokens, {})


def test_arguments_become_flags() -> None:
    arguments = {"model": "m", "enforce_eager": True, "enable_chunked_prefill": False, "max_model_len": None}
    assert flags(arguments) == ["--model", "m", "--enforce-eager", "--no-enable-chunked-prefill"]


def test_a_block_asks_everything_and_keeps_the_order() -> None:
    engine = CountingEngine()
    bodies = chat_bodies(OneProblemTask(), CONFIG, "base", 0, 7)
    with running(EngineBackend(engine)) as server:
        block = asyncio.run(run_block(server.url, bodies, 3))
    assert [one.status for one in block.replies] == [200] * 7
    texts = {request.seed: one.text for request, one in zip(engine.requests, block.replies, strict=True)}
    assert len(texts) == 7
    assert block.tokens_per_s > 0


def test_budgets_are_the_percentiles_of_what_was_measured() -> None:
    budgets = serve_budget.spread_budgets([float(i) for i in range(101)], 81, seed=0)
    assert sorted(budgets) == pytest.approx([float(i) for i in range(10, 91)])
    assert budgets != sorted(budgets)


async def test_five_percent_over_is_in_time_and_no_answer_is_a_miss() -> None:
    budgeted = Block(1.0, (reply(1.0), reply(1.04), reply(1.06), reply(0.5, " ")))
    figures = await serve_budget.summarise(Block(1.0, (reply(2.0),) * 4), budgeted, [1.0] * 4, OneProblemTask())
    assert figures["share_within_budget_and_5_percent"] == 0.75
    assert figures["share_within_budget"] == 0.5
    assert figures["num_without_answer"] == 1
    assert figures["worst_overrun_s"] == pytest.approx(0.06)
    assert not figures["is_target_met"]


def test_ours_is_compared_with_theirs() -> None:
    blocks = {
        serve_overhead.OURS: [Block(2.0, (reply(1.04), reply(1.04)))],
        serve_overhead.THEIRS: [Block(1.92, (reply(1.0), reply(1.0)))],
    }
    figures = serve_overhead.compare(blocks)
    assert figures["latency_ratio"] == pytest.approx(1.04)
    assert figures["throughput_ratio"] == pytest.approx(0.96)
    assert figures["is_met"]
    blocks[serve_overhead.OURS] = [Block(2.1, (reply(1.04), reply(1.04)))]
    assert not serve_overhead.compare(blocks)["is_met"]


def test_memory_growth_leaves_the_start_out() -> None:
    samples = [(float(i), 10 if i < 2 else 100 + i) for i in range(10)]
    assert serve_soak.memory_growth(samples) == pytest.approx(108.5 / 102.5 - 1)


@pytest.mark.parametrize("has_leak", [False, True])
def test_a_short_soak_counts_every_query(has_leak: bool) -> None:
    engine = CountingEngine(delay_s=0.05)
    bodies = chat_bodies(OneProblemTask(), CONFIG, "base", 0, 4) + chat_bodies(
        OneProblemTask(), CONFIG, "base", 4, 4, stream=True
    )
    with running(EngineBackend(engine), max_in_flight=2, max_queued=2) as server:
        tally = asyncio.run(serve_soak.soak(server.url, bodies, 8, 1.0, 0, lambda: 100))
        if has_leak:
            engine._num_unfinished += 1
            serve_soak_quiet = asyncio.run(_left_soon(server.url))
        else:
            serve_soak_quiet = asyncio.run(serve_soak.left_behind(server.url))
    figures = serve_soak.summarise(tally, serve_soak_quiet, 1 / 60)
    assert figures["lost"] == figures["failed"] == 0
    assert min(figures["answered"], figures["left"], figures["refused"]) > 0
    assert figures["memory_growth"] == 0
    assert figures["is_target_met"] == (not has_leak)


async def _left_soon(url: str) -> dict[str, float]:
    patience, serve_soak.QUIET_S = serve_soak.QUIET_S, 0.2
    try:
        return await serve_soak.left_behind(url)
    finally:
        serve_soak.QUIET_S = patience


@pytest.mark.parametrize(("name", "main"), MAINS)
def test_without_a_run_it_says_so(
    name: str, main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--engine", '{"kind": "fake"}'] if name != "serve_overhead" else []
    assert main(["--output", str(tmp_path), *settings]) == 2
    assert "--run is missing" in capsys.readouterr().err
