"""Reuse leaves the mean of the gradient as it is: a world small enough to enumerate, and pools that do not."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import pytest

from lamas_local.config import ReuseConfig
from lamas_local.operator_call import RunningCall
from lamas_local.operators.base import Operator, Reads, Update
from lamas_local.reuse import Input, RolloutRuns, RunPool
from lamas_local.trace import OperatorSpan
from tests.lamas_local.scripted_operator import ScriptedOperator, new_call

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
FIRST, SECOND = {"A": 0.7, "B": 0.3}, {"A": 0.65, "C": 0.2, "stop": 0.15}
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
        return ScriptedOperator(name, READS[name], lambda call: self._text(name, call.solutions))

    def _text(self, name: str, solutions: tuple[str, ...]) -> str | None:
        outcomes = OUTCOMES[name, solutions]
        [(_, text, _)] = self.rng.choices(outcomes, [p for p, _, _ in outcomes])
        return text


def length_of(span: OperatorSpan, seen: tuple[str, ...]) -> float:
    assert span.recording is not None
    text = next(iter(span.recording.added), None)
    return next(length for _, other, length in OUTCOMES[span.name, seen] if other == text)


def draw(policy: dict[str, float], rng: random.Random) -> str:
    return rng.choices(list(policy), list(policy.values()))[0]


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
    """Over 6 steps of 4 rollouts, utilities less the others' mean; one for each of many pools."""
    means = []
    for seed in range(300):
        world, pool, draws = World(random.Random(seed)), pools(config), random.Random(f"draws {seed}")
        samples = []
        for _ in range(6):
            pairs = [(draw(FIRST, draws), draw(SECOND, draws)) for _ in range(4)]
            rollouts = [rollout(world, make(pool, draws.randrange(2**31), 0), first, second) for first, second in pairs]
            values = await asyncio.gather(*rollouts)
            for i, pair in enumerate(pairs):
                advantage = values[i] - fmean(values[:i] + values[i + 1 :])
                samples.append([advantage * s for s in score_function(*pair)])
        means.append([fmean(column) for column in zip(*samples, strict=True)])
    return means


BOUND = 4.5
"""Standard errors. Seeds are fixed, so a test that passes goes on passing."""


def furthest(means: list[list[float]]) -> float:
    """The largest distance of a component's mean from the exact one, in standard errors."""
    columns: list[Sequence[float]] = list(zip(*means, strict=True))
    return max(
        abs(fmean(column) - exact) / (stdev(column) / math.sqrt(len(column)))
        for column, exact in zip(columns, exact_gradient(), strict=True)
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
            if place[0] == Input(call.query.id, self.epoch, call.operator.name, call.solutions)
        ]
        return await (self.pool.run(min(known)[1], call) if len(known) > 1 else super().run(call))


class Repeating(RolloutRuns):
    """Deals every copy the same run."""

    async def run(self, call: RunningCall) -> tuple[OperatorSpan, Update]:
        self._num_dealt.clear()
        return await super().run(call)


@pytest.mark.parametrize(("size", "max_runs"), [(1, 999), (2, 999), (2, 3)])
async def test_the_mean_of_the_gradient_is_that_of_fresh_rollouts(size: int, max_runs: int) -> None:
    config = ReuseConfig(runs_per_input=size, max_runs=max_runs)
    assert furthest(await mean_gradients(RolloutRuns, RunPool, config)) < BOUND


async def test_fresh_rollouts_have_the_exact_mean() -> None:
    assert furthest(await mean_gradients(RolloutRuns, NoPool, ReuseConfig())) < BOUND


@pytest.mark.parametrize(
    ("make", "pools"),
    [(Quickest, RunPool), (Repeating, RunPool), (RolloutRuns, ForgetfulPool)],
    ids=lambda one: one.__name__,
)
async def test_a_pool_that_chooses_by_outcome_fails_the_same_test(make: Runs, pools: type[RunPool]) -> None:
    assert furthest(await mean_gradients(make, pools, ReuseConfig(runs_per_input=2))) > BOUND
