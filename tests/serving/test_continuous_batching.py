"""Steps by hand, and every stretch against a model that takes one step after another."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from serving.continuous_batching import NEVER, BatchLimits, ContinuousBatch, Sequence, StepCost

COST = StepCost(step_s=10.0, running_s=2.0, prefill_token_s=1.0)
"""Whole numbers, so that sums are exact."""
WIDE = BatchLimits(max_num_seqs=8, max_num_batched_tokens=1000, kv_cache_tokens=10_000, block_size=1)


def sequence(arrival: float = 0.0, prompt: int = 5, output: int = 3, keys: tuple[int, ...] = ()) -> Sequence:
    return Sequence(prompt, output, keys, arrival)


def serve(batch: ContinuousBatch, sequences: list[Sequence], aborts: dict[int, float] | None = None) -> None:
    """Everything to its end; whatever comes or is aborted at the time of a turn does so before the turn."""
    events = sorted(
        [(one.arrival, 0, i) for i, one in enumerate(sequences)] + [(at, 1, i) for i, at in (aborts or {}).items()]
    )
    while events or batch.due() < NEVER:
        if events and events[0][0] <= batch.due():
            time, kind, index = events.pop(0)
            if kind == 0:
                batch.submit(sequences[index])
            else:
                batch.abort(sequences[index], time)
        else:
            batch.advance()


def stamps(one: Sequence) -> tuple[float, ...]:
    return one.queued, one.scheduled, one.first_token, one.last_token


def test_one_alone_is_a_prefill_and_a_step_for_each_further_token() -> None:
    one = sequence(arrival=7.0)
    serve(ContinuousBatch(COST, WIDE), [one])
    assert stamps(one) == (7.0, 7.0, 7.0 + 17.0, 7.0 + 17.0 + 2 * 12.0)


def test_an_idle_engine_starts_with_the_first_and_takes_the_others_a_step_later() -> None:
    first, second = sequence(output=2), sequence(output=1)
    serve(ContinuousBatch(COST, WIDE), [first, second])
    assert stamps(first) == (0.0, 0.0, 17.0, 17.0 + 19.0)
    assert stamps(second) == (17.0, 17.0, 36.0, 36.0)


def test_who_comes_during_a_step_is_noticed_at_its_end() -> None:
    first, second = sequence(output=10), sequence(arrival=17.0 + 12.0 + 1.0, output=1)
    serve(ContinuousBatch(COST, WIDE), [first, second])
    assert second.queued == second.scheduled == 17.0 + 2 * 12.0
    assert second.last_token == 41.0 + 10 + 2 * 2 + 5
    assert first.last_token == 60.0 + 6 * 12.0


def test_cached_prompt_tokens_are_not_prefilled() -> None:
    first, second = sequence(prompt=9, keys=(1, 2), output=1), sequence(50.0, prompt=9, keys=(1, 2), output=1)
    limits = BatchLimits(8, 1000, 10_000, block_size=4)
    serve(ContinuousBatch(COST, limits), [first, second])
    assert (first.num_cached_tokens, second.num_cached_tokens) == (0, 8)
    assert (first.last_token, second.last_token) == (21.0, 50.0 + 13.0)


def test_a_long_prompt_is_prefilled_in_parts_beside_those_that_decode() -> None:
    limits = BatchLimits(max_num_seqs=8, max_num_batched_tokens=8, kv_cache_tokens=10_000, block_size=1)
    one = sequence(prompt=20, output=1)
    serve(ContinuousBatch(COST, limits), [one])
    assert one.first_token == (12 + 8) + (12 + 8) + (12 + 4)


def test_a_full_cache_and_a_full_batch_make_the_next_wait() -> None:
    for limits in (BatchLimits(1, 1000, 10_000, 1), BatchLimits(8, 1000, 10, 1)):
        first, second = sequence(output=4), sequence(output=4)
        serve(ContinuousBatch(COST, limits), [first, second])
        assert second.scheduled == first.last_token


def test_an_aborted_one_leaves_at_the_end_of_the_step() -> None:
    limits = BatchLimits(1, 1000, 10_000, 1)
    first, second = sequence(output=100), sequence(output=1)
    batch = ContinuousBatch(COST, limits)
    serve(batch, [first, second], aborts={0: 17.0 + 12.0 + 5.0})
    assert first.last_token == NEVER
    assert second.scheduled == 17.0 + 2 * 12.0
    assert batch.num_running == 0


def test_one_that_waits_goes_at_once_and_one_that_ended_cannot_be_aborted() -> None:
    limits = BatchLimits(1, 1000, 10_000, 1)
    first, second, third = sequence(output=4), sequence(), sequence(output=1)
    serve(ContinuousBatch(COST, limits), [first, second, third], aborts={1: 20.0, 0: 1000.0})
    assert second.scheduled == NEVER
    assert third.scheduled == first.last_token
    assert not first.is_aborted


@dataclass
class Naive:
    """The same rules, a step at a time; without a prefix cache."""

    cost: StepCost
    limits: BatchLimits

    def serve(self, arrivals: list[Sequence]) -> dict[int, tuple[float, ...]]:
        time, has_stepped = 0.0, False
        coming = list(range(len(arrivals)))
        waiting: list[int] = []
        running: list[int] = []
        left = {i: (one.num_prompt_tokens, one.num_output_tokens) for i, one in enumerate(arrivals)}
        queued: dict[int, float] = {}
        scheduled: dict[int, float] = {}
        first: dict[int, float] = {}
        last: dict[int, float] = {}
        while coming or waiting or running:
            is_idle = not running and not waiting and not (has_stepped and arrivals[coming[0]].arrival <= time)
            if is_idle:
                time = max(time, arrivals[coming[0]].arrival)
            has_stepped = True
            while coming and arrivals[coming[0]].arrival <= time:
                queued[coming[0]] = time
                waiting.append(coming.pop(0))
                if is_idle:
                    break
            budget = self.limits.max_num_batched_tokens - sum(left[i][0] == 0 for i in running)
            part: dict[int, int] = {}
            for i in running:
                part[i] = min(left[i][0], max(budget - sum(part.values()), 0))
            while waiting and sum(part.values()) < budget and len(running) < self.limits.max_num_seqs:
                total = sum(
                    arrivals[i].num_prompt_tokens + arrivals[i].num_output_tokens for i in (*running, waiting[0])
                )
                if total > self.limits.kv_cache_tokens:
                    break
                i = waiting.pop(0)
                scheduled[i] = time
                part[i] = min(left[i][0], budget - sum(part.values()))
                running.append(i)
            cost = self.cost
            time += cost.step_s + cost.running_s * len(running) + cost.prefill_token_s * sum(part.values())
            for i in list(running):
                prompt, output = left[i][0] - part[i], left[i][1]
                if prompt == 0:
                    output -= 1
                    first.setdefault(i, time)
                left[i] = (prompt, output)
                if output == 0:
                    last[i] = time
                    running.remove(i)
        return {i: (queued[i], scheduled[i], first[i], last[i]) for i in range(len(arrivals))}


ARRIVALS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 30), st.integers(1, 12)), min_size=1, max_size=14)
LIMITS = st.builds(
    BatchLimits,
    max_num_seqs=st.integers(1, 5),
    max_num_batched_tokens=st.integers(5, 40),
    kv_cache_tokens=st.integers(42, 150),
    block_size=st.just(1),
)


@given(ARRIVALS, LIMITS)
def test_stretches_are_what_single_steps_are(arrivals: list[tuple[int, int, int]], limits: BatchLimits) -> None:
    sequences = [sequence(float(at), prompt, output) for at, prompt, output in sorted(arrivals)]
    serve(ContinuousBatch(COST, limits), sequences)
    assert {i: stamps(one) for i, one in enumerate(sequences)} == Naive(COST, limits).serve(sequences)


@given(ARRIVALS, LIMITS, st.data())
def test_stamps_are_in_order_and_all_places_come_back(
    arrivals: list[tuple[int, int, int]], limits: BatchLimits, data: st.DataObject
) -> None:
    sequences = [sequence(float(at), prompt, output) for at, prompt, output in sorted(arrivals)]
    aborted = data.draw(st.sets(st.sampled_from(range(len(sequences)))))
    aborts = {i: sequences[i].arrival + data.draw(st.integers(0, 400)) for i in aborted}
    batch = ContinuousBatch(COST, limits, noise=0.3, seed=1)
    serve(batch, sequences, aborts)
    for one in sequences:
        if one.is_aborted:
            assert one.last_token == NEVER
        else:
            assert one.arrival <= one.queued <= one.scheduled < one.first_token <= one.last_token < NEVER
    taken = [one.scheduled for one in sequences if one.scheduled < NEVER]
    assert taken == sorted(taken), "first come, first served"
    assert (batch.num_running, batch.due()) == (0, NEVER)
    last = sequence(arrival=1e6)
    batch.submit(last)
    batch.advance()
    assert last.scheduled == 1e6, "there is room for one more"


def test_noise_is_as_large_as_asked_and_equal_for_equal_seeds() -> None:
    def lengths(seed: int) -> list[float]:
        sequences = [sequence(arrival=1000.0 * i, prompt=5, output=1) for i in range(400)]
        serve(ContinuousBatch(COST, WIDE, noise=0.2, seed=seed), sequences)
        return [one.last_token - one.arrival for one in sequences]

    assert lengths(1) == lengths(1) != lengths(2)
    mean = sum(lengths(1)) / 400
    assert abs(mean / 17.0 - 1) < 0.05
    assert 0.15 < (sum((one / mean - 1) ** 2 for one in lengths(1)) / 400) ** 0.5 < 0.25
