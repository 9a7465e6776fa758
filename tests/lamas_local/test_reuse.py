"""The pool of operator runs: who is dealt what, who runs, and where it is refused."""

from __future__ import annotations

import asyncio
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.config import ConfigError, ReuseConfig
from lamas_local.operators.base import OperatorCall, Reads, Update
from lamas_local.reuse import Input, RolloutRuns, RunPool, check_reuse, deal
from tests.lamas_local.builders import make_config
from tests.lamas_local.scripted_operator import ScriptedOperator, new_call

WANTED = Input("q", 0, "Generate", ())


def counting(delay_s: float = 0, reads: Reads = "problem") -> ScriptedOperator:
    """Adds 0, 1, 2 and so on."""
    numbers = itertools.count()
    return ScriptedOperator("Generate", reads, lambda call: str(next(numbers)), delay_s)


# Who is dealt what


@given(size=st.integers(1, 6), seed=st.integers(0, 2**31), n=st.integers(1, 12))
def test_no_place_is_dealt_twice_in_a_rollout(size: int, seed: int, n: int) -> None:
    places = [deal(size, seed, WANTED, i) for i in range(n)]
    assert len(set(places)) == n
    assert set(places) <= set(range(max(size, n)))
    assert set(places[:size]) <= set(range(size))
    assert places[size:] == list(range(size, n))


def test_every_place_is_dealt_as_often() -> None:
    for copy in range(2):
        dealt = [deal(4, seed, WANTED, copy) for seed in range(4000)]
        counts = [dealt.count(place) for place in range(4)]
        assert all(abs(count - 1000) < 5 * math.sqrt(1000 * 0.75) for count in counts), counts


# Who runs


async def test_a_second_rollout_gets_the_run_of_the_first() -> None:
    pool, operator = RunPool(ReuseConfig(runs_per_input=1)), counting()
    first, update = await RolloutRuns(pool, 1, 0).run(new_call(operator))
    second, again = await RolloutRuns(pool, 2, 0).run(new_call(operator))
    assert operator.num_runs == 1
    assert update == again == Update(("0",))
    assert (first.is_reused, second.is_reused) == (False, True)
    assert (first.recording, first.steps) == (second.recording, second.steps)
    assert second.started >= first.ended


async def test_two_copies_in_a_rollout_are_two_runs() -> None:
    pool, operator = RunPool(ReuseConfig(runs_per_input=1)), counting()
    for seed in range(2):
        runs = RolloutRuns(pool, seed, 0)
        updates = [(await runs.run(new_call(operator)))[1] for _ in range(2)]
        assert updates == [Update(("0",)), Update(("1",))]
    assert operator.num_runs == 2


async def test_another_query_operator_or_input_is_another_tape() -> None:
    pool, operator = RunPool(ReuseConfig(runs_per_input=1)), counting(reads="solutions")
    other = counting(reads="solutions")
    other.name = "Other"
    for call in (
        new_call(operator, ("a", "b")),
        new_call(operator, ("b", "a")),
        new_call(operator, ("a", "b"), "p"),
        new_call(other, ("a", "b")),
    ):
        assert not (await RolloutRuns(pool, 0, 0).run(call))[0].is_reused
    assert len(pool) == 4


async def test_a_later_pass_samples_anew() -> None:
    pool, operator = RunPool(ReuseConfig(runs_per_input=1)), counting()
    identities = []
    for epoch in (0, 1, 0, 1):
        call = new_call(operator)
        await RolloutRuns(pool, epoch, epoch).run(call)
        identities.append(call.identity[0])
    assert operator.num_runs == len(pool) == 2
    assert identities == ["q", "q@1"] * 2


async def test_rollouts_that_want_a_run_at_once_share_it() -> None:
    pool, operator = RunPool(ReuseConfig(runs_per_input=1)), counting(delay_s=0.01)
    ran = await asyncio.gather(*(RolloutRuns(pool, seed, 0).run(new_call(operator)) for seed in range(3)))
    assert operator.num_runs == 1
    assert [span.is_reused for span, _ in ran] == [False, True, True]
    assert all(span.ended - span.started >= 0.01 for span, _ in ran)


async def test_who_shares_a_run_shares_its_error() -> None:
    def bad(call: OperatorCall) -> str:
        raise ConfigError("no sandbox")

    pool, operator = RunPool(ReuseConfig(runs_per_input=1)), ScriptedOperator("Generate", "problem", bad, 0.01)
    running = (RolloutRuns(pool, seed, 0).run(new_call(operator)) for seed in range(2))
    errors = await asyncio.gather(*running, return_exceptions=True)
    assert [str(error) for error in errors] == ["no sandbox"] * 2
    assert len(pool) == 0


async def test_the_seed_is_that_of_the_place_whoever_runs_it() -> None:
    places = []
    for seed in range(20):
        call = new_call(counting(reads="solution"), ("a",))
        await RolloutRuns(RunPool(ReuseConfig(runs_per_input=2)), seed, 0).run(call)
        places.append(call.identity)
    assert len(set(places)) == 2
    assert {place[-1] for place in places} == {"Generate", "Generate#2"}


async def test_the_pool_is_bounded_and_the_least_recently_used_run_goes() -> None:
    pool, operator = RunPool(ReuseConfig(runs_per_input=1, max_runs=2)), counting()
    ran = []
    for query_id in ("a", "b", "a", "c", "a", "b"):
        ran.append((await RolloutRuns(pool, 0, 0).run(new_call(operator, query_id=query_id)))[0].is_reused)
        assert len(pool) <= 2
    assert ran == [False, False, True, False, True, False]


# Where it cannot be


def test_measured_seconds_are_refused() -> None:
    for signal in ("tokens", "calibrated"):
        check_reuse(make_config(latency={"signal": signal}, trainer={"reuse": {}}))
    check_reuse(make_config(latency={"signal": "measured"}))
    with pytest.raises(ConfigError, match=r"trainer\.reuse: .* latency\.signal must be calibrated or tokens"):
        check_reuse(make_config(latency={"signal": "measured"}, trainer={"reuse": {}}))


def test_aborting_is_refused() -> None:
    check_reuse(make_config(execution={"mode": "dataflow", "abort": False}, trainer={"reuse": {}}))
    with pytest.raises(ConfigError, match=r"trainer\.reuse: .* execution\.abort must be false"):
        check_reuse(make_config(execution={"mode": "dataflow"}, trainer={"reuse": {}}))
