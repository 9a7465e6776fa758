"""Operator runs used again (`trainer.reuse`): what an operator made of a query stands for its run in any architecture.

What comes of a run depends on the query, the operator and what it reads, and on nothing else that a rollout does (its
seconds also on the load of the moment, so they are recomputed: `retiming`). Think of a tape for each such input: an
endless row of independent runs of it, none of which has been made yet. A rollout that needs the input is dealt a place
on its tape. The run is made when its place is first dealt, and is the same run ever after. Places are dealt by seeds
alone, before anything is known of the runs, and never the same one twice in a rollout. So every rollout has the law of
one whose runs are all its own; and at weights that were not fitted to the tapes, the mean of a policy gradient over
such rollouts, baselines of sibling rollouts included, is what it is without reuse.

What would break this, and is therefore not done: to choose among runs by what is known of them, be it only which ended
first; to forget runs that failed (they would fail too seldom); to keep only those that were not aborted (they are the
quick ones); to deal two copies of an operator in a rollout the same run (a vote between them would mean nothing).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from lamas_local.config import Config, ConfigError, ReuseConfig
from lamas_local.operator_call import RunningCall
from lamas_local.operators.base import Update
from lamas_local.seeds import derive_seed, occasion
from lamas_local.trace import OperatorSpan, Recording, RolloutTrace
from serving.clock import now


class Input(NamedTuple):
    """All that the law of an operator's run depends on, and the pass: a later one samples anew."""

    query_id: str
    epoch: int
    """Which pass over the split, from 0."""
    operator: str
    solutions: tuple[str, ...]
    """What the operator reads, in order."""


Place = tuple[Input, int]
"""An input and a place on its tape, from 0."""


class RunPool:
    """The runs made so far, at most `max_runs` of them. A run that has gone is made again, with the seed it had."""

    def __init__(self, config: ReuseConfig) -> None:
        self.config = config
        self._runs: OrderedDict[Place, OperatorSpan] = OrderedDict()
        """The least recently used first."""
        self._running: dict[Place, asyncio.Future[OperatorSpan]] = {}

    @classmethod
    def of(cls, config: ReuseConfig, traces: Iterable[RolloutTrace]) -> RunPool:
        """The pool after these rollouts, as a resumed run finds it."""
        pool = cls(config)
        for trace in traces:
            for layer in (*trace.layers, trace.finaliser):
                for span in layer.operators:
                    if span.recording is not None:
                        kept = span.recording
                        pool._keep((Input(trace.query_id, kept.epoch, span.name, kept.solutions), kept.place), span)
        return pool

    def __len__(self) -> int:
        return len(self._runs)

    async def run(self, place: Place, call: RunningCall) -> tuple[OperatorSpan, Update]:
        """The run at a place: `call` itself where it is not on record. Two rollouts that want it at once share one.

        Raises:
            ConfigError: as `RunningCall.run`, also where another rollout runs it.
        """
        if (known := self._runs.get(place)) is not None:
            return self._again(place, known, call)
        if (running := self._running.get(place)) is not None:
            return self._again(place, await running, call)
        running = self._running[place] = asyncio.get_running_loop().create_future()
        try:
            span, update = await call.run()
        except asyncio.CancelledError:
            running.cancel()
            raise
        except Exception as error:
            running.set_exception(error)
            running.exception()  # seen: nobody need be waiting
            raise
        finally:
            del self._running[place]
        wanted, number = place
        span = replace(span, recording=Recording(number, wanted.epoch, wanted.solutions, update.added))
        running.set_result(span)
        self._keep(place, span)
        return span, update

    def _again(self, place: Place, span: OperatorSpan, call: RunningCall) -> tuple[OperatorSpan, Update]:
        self._keep(place, span)
        assert span.recording is not None
        again = replace(span, started=call.started, ended=now(), is_reused=True)
        return again, Update(span.recording.added, span.num_replaced)

    def _keep(self, place: Place, span: OperatorSpan) -> None:
        self._runs[place] = span
        self._runs.move_to_end(place)
        if len(self._runs) > self.config.max_runs:
            self._runs.popitem(last=False)


class RolloutRuns:
    """Deals one rollout its places."""

    def __init__(self, pool: RunPool, seed: int, epoch: int) -> None:
        """Args: the runs so far; the rollout's own seed; the pass over the split, from 0."""
        self.pool = pool
        self.seed = seed
        self.epoch = epoch
        self._num_dealt: Counter[Input] = Counter()

    async def run(self, call: RunningCall) -> tuple[OperatorSpan, Update]:
        """The run at the rollout's next place on the tape of what `call` depends on.

        Raises:
            ConfigError: as `RunningCall.run`.
        """
        wanted = Input(call.query.id, self.epoch, call.operator.name, call.solutions)
        place = deal(self.pool.config.runs_per_input, self.seed, wanted, self._num_dealt[wanted])
        self._num_dealt[wanted] += 1
        # Seeded by its place on the tape, so that it does not matter which rollout comes first and runs it.
        label = f"{wanted.operator}#{place + 1}" if place else wanted.operator
        call.identity = (occasion(call.query.id, self.epoch), "tape", derive_seed(*wanted.solutions), label)
        return await self.pool.run((wanted, place), call)


def deal(runs_per_input: int, seed: int, wanted: Input, num_dealt: int) -> int:
    """The place that a rollout gets on an input's tape after `num_dealt` others there.

    The first `runs_per_input` places come first, in a random order, then those behind them.
    """
    if num_dealt >= runs_per_input:
        return num_dealt
    rng = random.Random(derive_seed(seed, wanted.query_id, wanted.operator, *wanted.solutions))
    return rng.sample(range(runs_per_input), runs_per_input)[num_dealt]


def check_reuse(config: Config) -> None:
    """Raises ConfigError where what was recorded would not stand for what would run."""
    if config.trainer.reuse is None:
        return
    if config.latency.signal == "measured":
        raise ConfigError(
            "trainer.reuse: a run that is used again takes no time on the clock, so latency.signal must be calibrated "
            "or tokens, not measured"
        )
    if config.execution.mode == "dataflow" and config.execution.abort:
        raise ConfigError(
            "trainer.reuse: in execution.mode dataflow, execution.abort must be false: runs that are not aborted are "
            "the quick ones, and a pool of those says that all are quick"
        )
