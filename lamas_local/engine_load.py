"""What ran beside each request: as it was, from stamps, or as it would be at a reference load."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from lamas_local.cost_model import Floats, Seconds, Work
from lamas_local.dataflow import Node, waited_for
from lamas_local.trace import RequestSpan, RolloutTrace, Span
from serving.types import RequestTiming


def spans(trace: RolloutTrace) -> Iterator[Span]:
    """Everything that ran for a rollout, in the order of layers, operators and steps, the finaliser's last."""
    for layer in (*trace.layers, trace.finaliser):
        for operator in layer.operators:
            if not operator.is_reused:
                for step in operator.steps:
                    yield from step


def timed_requests(traces: Sequence[RolloutTrace]) -> list[RequestSpan]:
    """The requests that have stamps, rollout by rollout, in the order of `spans`. Failed ones have none."""
    return [span for trace in traces for span in spans(trace) if span.kind == "request" and span.timing is not None]


def observable(traces: Sequence[RolloutTrace]) -> list[RequestSpan]:
    """The requests that have stamps, if the engine itself stamped all of them; else none, since what a caller far from
    the engine sees does not tell waiting from prefill, and what is left out is load that is not seen."""
    requests = timed_requests(traces)
    return [] if any(span.timing is not None and span.timing.is_client_side for span in requests) else requests


def observe(requests: Sequence[RequestSpan]) -> tuple[Work, Seconds]:
    """The load each request met, on its own replica where there are several, and its seconds.

    Args:
        requests: everything that ran on one engine over some time, each with stamps: what is left out is load that
            is not seen. Stamps of different engines or of different starts of the machine must not be mixed.
    """
    replicas: dict[str | None, list[int]] = {}
    for index, span in enumerate(requests):
        replicas.setdefault(span.replica, []).append(index)
    if len(replicas) <= 1:
        return _observe_one(requests)
    parts = [_observe_one([requests[index] for index in own]) for own in replicas.values()]
    back = np.argsort(np.concatenate([*replicas.values()]))
    return Work.join([work for work, _ in parts]).rows(back), Seconds.join([seconds for _, seconds in parts]).rows(back)


def _observe_one(requests: Sequence[RequestSpan]) -> tuple[Work, Seconds]:
    """Of requests that all ran on the same engine."""

    def stamp(read: Callable[[RequestTiming], float]) -> Floats:
        return np.array([read(span.timing) for span in requests if span.timing is not None], dtype=float)

    submitted, scheduled = stamp(lambda timing: timing.submitted), stamp(lambda timing: timing.scheduled)
    first, last = stamp(lambda timing: timing.first_token), stamp(lambda timing: timing.last_token)
    returned = stamp(lambda timing: timing.returned)
    uncached = np.array([_uncached(span) for span in requests], dtype=float)
    one = np.ones(len(requests))
    num_running, num_prefilled = (
        integral(scheduled, last, one * (last - scheduled)),
        integral(scheduled, first, uncached),
    )
    # Half-way through a wait, what runs is the step that is waited for.
    waiting = (submitted + scheduled) / 2
    work = Work(
        wait_running=count_at(waiting, scheduled, last, one),
        wait_tokens=count_at(waiting, scheduled, first, uncached),
        prefill_running=_mean(num_running, scheduled, first),
        prefill_tokens=np.maximum(num_prefilled(first) - num_prefilled(scheduled), uncached),
        decode_steps=np.array([_decode_steps(span) for span in requests], dtype=float),
        decode_running=_mean(num_running, first, last),
        decode_tokens=np.maximum(num_prefilled(last) - num_prefilled(first), 0.0),
    )
    return work, Seconds(scheduled - submitted, first - scheduled, last - first, returned - last)


def reference_work(trace: RolloutTrace, reference_load: int) -> Work:
    """What a rollout's timed requests would meet with `reference_load` other requests decoding all the time, those of
    reused runs like all others.

    Operators of a layer start together, in `dataflow` those with as many before them, so requests of the same step of
    theirs, at the same replica, count as running together, each until its own last token. An idle engine takes the
    first of them at once and the others a step later; a busy one takes all of them after the step under way. Cached
    tokens are those the rollout had.
    """
    waves: dict[tuple[Hashable, int], list[RequestSpan]] = {}
    for group, step, span in _placed_requests(trace):
        waves.setdefault((group, step), []).append(span)
    rows = {wave: iter(_wave_rows(running, reference_load)) for wave, running in waves.items()}
    ordered = [next(rows[group, step]) for group, step, _ in _placed_requests(trace)]
    return Work(*np.array(ordered, dtype=float).reshape(-1, 7).T)


def _placed_requests(trace: RolloutTrace) -> Iterator[tuple[Hashable, int, RequestSpan]]:
    """The timed requests in the order of `spans`, those of reused runs too, each with the group its operator starts in
    and its step there."""
    depths = _depths(trace) if trace.mode == "dataflow" else {}
    for layer_index, layer in enumerate((*trace.layers, trace.finaliser)):
        together = trace.mode != "sequential" and layer_index < len(trace.layers)
        for position, operator in enumerate(layer.operators):
            node = (layer_index, position)
            group = depths.get(node, layer_index) if together else node
            for step_index, step in enumerate(operator.steps):
                for span in step:
                    if span.kind == "request" and span.timing is not None:
                        yield (group, span.replica), step_index, span


def _depths(trace: RolloutTrace) -> dict[Node, int]:
    """How many operators one after another come before each; those of equal depth start at about the same time."""
    depths: dict[Node, int] = {}
    for node, after in sorted(waited_for(trace).items()):  # edges only lead to earlier layers
        depths[node] = max((depths[one] + 1 for one in after), default=0)
    return depths


def _wave_rows(running: Sequence[RequestSpan], reference_load: int) -> list[tuple[float, ...]]:
    """The columns of `Work` for requests that are sent at the same moment."""
    uncached = [_uncached(span) for span in running]
    late_tokens = sum(uncached[1:])  # a step later than the first one, which then has their prefill beside its decode
    rows: list[tuple[float, ...]] = []
    for index, steps in enumerate(map(_decode_steps, running)):
        # Of the others, those that are still there: each step has one token of every request in it.
        beside = sum(min(_decode_steps(one), steps) for one in running) / steps if steps else 1.0
        decode = (steps, reference_load + beside)
        if reference_load > 0:
            rows.append((reference_load, 0, reference_load + len(running), sum(uncached), *decode, 0))
        elif index == 0:
            rows.append((0, 0, 1, uncached[0], *decode, late_tokens if steps else 0))
        else:
            rows.append((1, uncached[0], len(running), late_tokens, *decode, 0))
    return rows


def _uncached(span: RequestSpan) -> int:
    return span.num_prompt_tokens - span.num_cached_tokens


def _decode_steps(span: RequestSpan) -> int:
    return max(span.num_output_tokens - 1, 0)


def integral(starts: Floats, ends: Floats, amounts: Floats) -> Callable[[Floats], Floats]:
    """The sum up to a time of amounts that are each spread evenly from a start to an end.

    An amount over no time counts nothing.
    """
    lasting = ends > starts
    rates = amounts[lasting] / (ends[lasting] - starts[lasting])
    times = np.concatenate([starts[lasting], ends[lasting]])
    changes = np.concatenate([rates, -rates])
    order = np.argsort(times, kind="stable")
    times = times[order]
    sums = np.concatenate([[0.0], np.cumsum(np.cumsum(changes[order])[:-1] * np.diff(times))])

    def up_to(moments: Floats) -> Floats:
        return np.interp(moments, times, sums) if len(times) else np.zeros(len(moments))

    return up_to


def count_at(moments: Floats, starts: Floats, ends: Floats, amounts: Floats) -> Floats:
    """At each moment, the sum of the amounts that have started and not ended."""

    def up_to(times: Floats) -> Floats:
        order = np.argsort(times, kind="stable")
        sums = np.concatenate([[0.0], np.cumsum(amounts[order])])
        result: Floats = sums[np.searchsorted(times[order], moments)]
        return result

    return up_to(starts) - up_to(ends)


def _mean(total: Callable[[Floats], Floats], starts: Floats, ends: Floats) -> Floats:
    """Mean over time of what `total` sums up; at least 1, the request itself."""
    lengths = ends - starts
    means: Floats = np.maximum((total(ends) - total(starts)) / np.where(lengths > 0, lengths, 1.0), 1.0)
    return means
