"""The pool of operator runs: who is dealt what, who runs, and that the mean of the gradient stays what it is."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.config import ConfigError, ReuseConfig
from lamas_local.operator_call import RunningCall
from lamas_local.operators.base import Operator, OperatorCall, OperatorError, Reads, Update
from lamas_local.reuse import Input, RolloutRuns, RunPool, check_reuse, deal
from lamas_local.tasks.base import Query
from lamas_local.trace import Failure, OperatorSpan
from serving.clock import now
from tests.lamas_local.builders import make_config

WANTED = Input("q", "Generate", ())


class Scripted:
    """An operator that adds what a function says; it fails where that is None."""

    description = "Does as it is told."

    def __init__(self, name: str, reads: Reads, text: Callable[[OperatorCall], str | None], delay_s: float = 0) -> None:
        self.name, self.reads, self._text, self._delay_s = name, reads, text, delay_s
        self.num_runs = 0

    async def run(self, call: OperatorCall) -> Update:
        self.num_runs += 1
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        text = self._text(call)
        if text is None:
            raise OperatorError(Failure("Unlucky", "it happens"))
        return Update((text,))


def new_call(operator: Operator, solutions: tuple[str, ...] = (), query_id: str = "q") -> RunningCall:
    return RunningCall(cast(Any, None), operator, Query(query_id, "?"), "train-1", (), solutions, now())


def counting(delay_s: float = 0, reads: Reads = "problem") -> Scripted:
    """Adds 0, 1, 2 and so on."""
    numbers = itertools.count()
    return Scripted("Generate", reads, lambda call: str(next(numbers)), delay_s)


# Who is dealt what


@given(
    size=st.integers(1, 6),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 50),
    refresh=st.floats(0, 1),
    n=st.integers(1, 12),
)
def test_no_place_is_dealt_twice_in_a_rollout(size: int, seed: int, epoch: int, refresh: float, n: int) -> None:
    config = ReuseConfig(runs_per_input=size, refresh=refresh)
    places = [deal(config, seed, epoch, WANTED, i) for i in range(n)]
    assert len(set(places)) == n
    start = min(deal(config, seed, epoch, WANTED, i) for i in range(size))
    assert set(places) <= set(range(start, start + max(size, n)))
    assert set(places[:size]) <= set(range(start, start + size))
    assert epoch * size * refresh - 1 <= start <= epoch * size * refresh + 1e-6


def test_every_place_is_dealt_as_often() -> None:
    config = ReuseConfig(runs_per_input=4)
    for copy in range(2):
        dealt = [deal(config, seed, 0, WANTED, copy) for seed in range(4000)]
        counts = [dealt.count(place) for place in range(4)]
        assert all(abs(count - 1000) < 5 * math.sqrt(1000 * 0.75) for count in counts), counts


def test_refresh_moves_the_places_up_pass_by_pass() -> None:
    def places(refresh: float, epoch: int) -> set[int]:
        config = ReuseConfig(runs_per_input=2, refresh=refresh)
        return {deal(config, 7, epoch, WANTED, i) for i in range(2)}

    assert [places(0.0, epoch) for epoch in (0, 9)] == [{0, 1}, {0, 1}]
    assert [places(0.25, epoch) for epoch in range(5)] == [{0, 1}, {0, 1}, {1, 2}, {1, 2}, {2, 3}]
    assert [places(1.0, epoch) for epoch in range(3)] == [{0, 1}, {2, 3}, {4, 5}]


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


async def test_rollouts_that_want_a_run_at_once_share_it() -> None:
    pool, operator = RunPool(ReuseConfig(runs_per_input=1)), counting(delay_s=0.01)
    ran = await asyncio.gather(*(RolloutRuns(pool, seed, 0).run(new_call(operator)) for seed in range(3)))
    assert operator.num_runs == 1
    assert [span.is_reused for span, _ in ran] == [False, True, True]
    assert all(span.ended - span.started >= 0.01 for span, _ in ran)


async def test_who_shares_a_run_shares_its_error() -> None:
    def bad(call: OperatorCall) -> str:
        raise ConfigError("no sandbox")

    pool, operator = RunPool(ReuseConfig(runs_per_input=1)), Scripted("Generate", "problem", bad, 0.01)
    running = (RolloutRuns(pool, seed, 0).run(new_call(operator)) for seed in range(2))
    errors = await asyncio.gather(*running, return_exceptions=True)
    assert [str(error) for error in errors] == ["no sandbox"] * 2
    assert len(pool) == 0


async def test_the_seed_is_that_of_the_place_whoever_runs_it() -> None:
    places = []
    for seed in range(20):
        call = new_call(counting(reads="solution"), ("a",))
        await RolloutRuns(RunPool(ReuseConfig(runs_per_input=2)), seed, 0).run(call)
        places.append(call.place)
    assert len(set(places)) == 2
    assert {place[-1] for place in places} == {"Generate", "Generate#2"}


async def test_the_pool_is_bounded_and_the_least_recently_used_run_goes() -> None:
    pool, operator = RunPool(ReuseConfig(runs_per_input=1, max_runs=2)), counting()
    ran = []
    for query_id in ("a", "b", "a", "c", "a", "b"):
        ran.append((await RolloutRuns(pool, 0, 0).run(new_call(operator, query_id=query_id)))[0].is_reused)
        assert len(pool) <= 2
    assert ran == [False, False, True, False, True, False]


# The mean of the gradient


Outcome = tuple[float, str | None, float]
"""Probability, what is added, length."""
OUTCOMES: dict[tuple[str, tuple[str, ...]], tuple[Outcome, ...]] = {
    ("A", ()): ((0.35, "right", 1.0), (0.25, "wrong", 4.0), (0.4, None, 2.0)),
    ("B", ()): ((0.6, "right", 3.0), (0.4, "wrong", 1.0)),
    ("C", ("right",)): ((0.8, "right", 2.0), (0.2, "wrong", 1.0)),
    ("C", ("wrong",)): ((0.3, "right", 2.0), (0.7, "wrong", 5.0)),
    ("C", ()): ((1.0, None, 0.0),),
}
"""How long a run takes says something of how good it is, as in life."""
READS: dict[str, Reads] = {"A": "problem", "B": "problem", "C": "solution"}
FIRST, SECOND = {"A": 0.6, "B": 0.4}, {"A": 0.5, "C": 0.3, "stop": 0.2}
"""The policy: one draw each; its parameters are the logits."""


def utility(texts: Sequence[str | None], lengths: Sequence[float]) -> float:
    """All that answered must be right: two copies of one run would be so too often."""
    return float(all(text == "right" for text in texts)) - 0.2 * sum(lengths)


def expected_utility(first: str, second: str) -> float:
    """By enumeration."""
    total = 0.0
    for p, text, length in OUTCOMES[first, ()]:
        if second == "stop":
            total += p * utility([text], [length])
            continue
        seen = (text,) if second == "C" and text is not None else ()
        total += sum(p * q * utility([text, other], [length, more]) for q, other, more in OUTCOMES[second, seen])
    return total


def score_function(first: str, second: str) -> list[float]:
    """Gradient of the log-probability of both draws in the logits."""
    return [(name == first) - p for name, p in FIRST.items()] + [(name == second) - p for name, p in SECOND.items()]


def exact_gradient() -> list[float]:
    gradient = [0.0] * 5
    for (first, p), (second, q) in itertools.product(FIRST.items(), SECOND.items()):
        weight = p * q * expected_utility(first, second)
        gradient = [g + weight * s for g, s in zip(gradient, score_function(first, second), strict=True)]
    return gradient


@dataclass
class World:
    """Operators with these outcomes. Their luck is of the moment: a run made again is another one."""

    rng: random.Random

    def operator(self, name: str) -> Operator:
        return Scripted(name, READS[name], lambda call: self._text(name, call.solutions))

    def _text(self, name: str, solutions: tuple[str, ...]) -> str | None:
        outcomes = OUTCOMES[name, solutions]
        [(_, text, _)] = self.rng.choices(outcomes, [p for p, _, _ in outcomes])
        return text


def length_of(span: OperatorSpan, seen: tuple[str, ...]) -> float:
    assert span.recording is not None
    text = next(iter(span.recording.added), None)
    return next(length for _, other, length in OUTCOMES[span.name, seen] if other == text)


Runs = Callable[[RunPool, int, int], RolloutRuns]


async def rollout(world: World, runs: RolloutRuns, first: str, second: str) -> float:
    span, update = await runs.run(new_call(world.operator(first)))
    texts: list[str | None] = [next(iter(update.added), None)]
    lengths = [length_of(span, ())]
    if second != "stop":
        seen = update.added if READS[second] == "solution" else ()
        span, update = await runs.run(new_call(world.operator(second), seen))
        texts.append(next(iter(update.added), None))
        lengths.append(length_of(span, seen))
    return utility(texts, lengths)


async def mean_gradients(make: Runs, pools: Callable[[ReuseConfig], RunPool], config: ReuseConfig) -> list[list[float]]:
    """A mean gradient over 6 passes of 4 rollouts at a time for each of many pools: utilities less the others' mean."""
    means = []
    for seed in range(400):
        world, pool, draws = World(random.Random(seed)), pools(config), random.Random(f"draws {seed}")
        samples = []
        for epoch in range(6):
            pairs = [
                (draws.choices(list(FIRST), FIRST.values())[0], draws.choices(list(SECOND), SECOND.values())[0])
                for _ in range(4)
            ]
            rollouts = [
                rollout(world, make(pool, draws.randrange(2**31), epoch), first, second) for first, second in pairs
            ]
            values = await asyncio.gather(*rollouts)
            for i, pair in enumerate(pairs):
                advantage = values[i] - fmean(values[:i] + values[i + 1 :])
                samples.append([advantage * s for s in score_function(*pair)])
        means.append([fmean(column) for column in zip(*samples, strict=True)])
    return means


def furthest(means: list[list[float]]) -> float:
    """The largest distance of a component's mean from the exact one, in standard errors."""
    return max(
        abs(fmean(column) - exact) / (stdev(column) / math.sqrt(len(column)))
        for column, exact in zip(zip(*means, strict=True), exact_gradient(), strict=True)
    )


class NoPool(RunPool):
    """Every run is live."""

    def _keep(self, place: tuple[Input, int], span: OperatorSpan) -> None:
        pass


class ForgetfulPool(RunPool):
    """Keeps only what went well."""

    def _keep(self, place: tuple[Input, int], span: OperatorSpan) -> None:
        if span.failure is None:
            super()._keep(place, span)


class Quickest(RolloutRuns):
    """Takes the shortest run on record."""

    async def run(self, call: RunningCall) -> tuple[OperatorSpan, Update]:
        known = [
            (length_of(span, place[0].solutions), place)
            for place, span in self.pool._runs.items()
            if place[0] == Input(call.query.id, call.operator.name, call.solutions)
        ]
        return await (self.pool.run(min(known)[1], call) if len(known) > 1 else super().run(call))


class Repeating(RolloutRuns):
    """Deals every copy the same run."""

    async def run(self, call: RunningCall) -> tuple[OperatorSpan, Update]:
        self._num_dealt.clear()
        return await super().run(call)


@pytest.mark.parametrize(("size", "refresh", "max_runs"), [(1, 0.0, 999), (2, 0.5, 999), (2, 0.1, 3)])
async def test_the_mean_of_the_gradient_is_that_of_fresh_rollouts(size: int, refresh: float, max_runs: int) -> None:
    config = ReuseConfig(runs_per_input=size, refresh=refresh, max_runs=max_runs)
    assert furthest(await mean_gradients(RolloutRuns, RunPool, config)) < 4


async def test_fresh_rollouts_have_the_exact_mean() -> None:
    assert furthest(await mean_gradients(RolloutRuns, NoPool, ReuseConfig())) < 4


@pytest.mark.parametrize(
    ("make", "pools"),
    [(Quickest, RunPool), (Repeating, RunPool), (RolloutRuns, ForgetfulPool)],
    ids=lambda one: one.__name__,
)
async def test_a_pool_that_chooses_by_outcome_fails_the_same_test(make: Runs, pools: type[RunPool]) -> None:
    assert furthest(await mean_gradients(make, pools, ReuseConfig(runs_per_input=2, refresh=0.0))) > 6


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
