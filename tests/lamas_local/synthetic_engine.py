"""A continuously batching engine in virtual time, step by step, whose parameters are known: makes stamps to fit to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamas_local.cost_model import CostModel
from lamas_local.trace import RequestSpan
from serving.types import RequestTiming


@dataclass(frozen=True)
class Arrival:
    """A request to be."""

    submitted: float
    uncached_tokens: int
    output_tokens: int
    cached_tokens: int = 0


def serve(arrivals: Sequence[Arrival], engine: CostModel) -> list[RequestSpan]:
    """Every request is taken at the first step's start after it came; `wait_steps` is 1 whatever the model says."""
    waiting = sorted(range(len(arrivals)), key=lambda i: arrivals[i].submitted)
    scheduled: dict[int, float] = {}
    first: dict[int, float] = {}
    last: dict[int, float] = {}
    left: dict[int, int] = {}
    clock = 0.0
    while waiting or left:
        if not left:
            clock = max(clock, arrivals[waiting[0]].submitted + engine.wait_s)
        new = [i for i in waiting if arrivals[i].submitted + engine.wait_s <= clock]
        waiting = [i for i in waiting if i not in new]
        for i in new:
            scheduled[i], left[i] = clock, arrivals[i].output_tokens
        tokens = sum(arrivals[i].uncached_tokens for i in new)
        clock += engine.step_s + engine.running_s * len(left) + engine.prefill_token_s * tokens
        for i in list(left):
            first.setdefault(i, clock)
            left[i] -= 1
            if left[i] == 0:
                last[i] = clock
                del left[i]
    return [
        RequestSpan(
            request_id=str(i),
            seed=0,
            started=one.submitted,
            ended=last[i] + engine.return_s,
            timing=RequestTiming(
                one.submitted, scheduled[i], scheduled[i], first[i], last[i], last[i] + engine.return_s
            ),
            num_prompt_tokens=one.uncached_tokens + one.cached_tokens,
            num_cached_tokens=one.cached_tokens,
            num_output_tokens=one.output_tokens,
            finish_reason="stop",
            text="so 4",
        )
        for i, one in enumerate(arrivals)
    ]
