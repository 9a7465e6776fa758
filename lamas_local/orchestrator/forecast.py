"""How long an architecture would take now: the run's cost model on what its operators usually do."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from lamas_local.config import Config
from lamas_local.cost_model import CostModel
from lamas_local.engine_load import reference_work, timed_requests
from lamas_local.operators.base import Operator, max_added
from lamas_local.retiming import retime
from lamas_local.trace import Architecture, ExecutionMode, LayerSpan, OperatorSpan, RequestSpan, RolloutTrace
from serving.types import RequestTiming

NUM_KEPT = 64
"""Newest runs of each operator that are remembered."""
PRIOR_PROMPT_TOKENS = 200
"""Of an operator that never ran: one request with this prompt and the longest answer allowed."""


class Forecast:
    """Learns what operators do from rollouts; the engine's speed is the cost model's."""

    def __init__(
        self, model: CostModel | None, operators: Mapping[str, Operator], config: Config, past: Iterable[RolloutTrace]
    ) -> None:
        """Start from the rollouts of a run.

        Args:
            model: of the run's engine; None where there is none, and nothing can be predicted.
            operators: by name.
            config: for `sampling.max_tokens`.
            past: rollouts of the run, oldest first.
        """
        self.model = model
        self._operators, self._config = operators, config
        self._runs: dict[str, deque[OperatorSpan]] = {}
        self._typical: dict[str, OperatorSpan] = {}
        for trace in past:
            self.learn(trace)

    def learn(self, trace: RolloutTrace) -> None:
        """Remember what the operators of one more rollout did; those that were stopped or failed say nothing."""
        for layer in (*trace.layers, trace.finaliser):
            for span in layer.operators:
                if span.failure is None and not span.is_aborted and _is_whole(span):
                    self._runs.setdefault(span.name, deque(maxlen=NUM_KEPT)).append(span)
                    self._typical.pop(span.name, None)

    def seconds(
        self, architecture: Architecture, mode: ExecutionMode, finaliser: Iterable[str], num_running: int
    ) -> float | None:
        """Predicted seconds of an architecture beside `num_running` other requests; None without a model."""
        if self.model is None:
            return None
        trace = self._expected(architecture, mode, finaliser)
        if not timed_requests([trace]):
            return 0.0
        predicted = self.model.predict(reference_work(trace, num_running)).total
        return retime(trace, iter(predicted), as_it_was=False).ended

    def _expected(self, architecture: Architecture, mode: ExecutionMode, finaliser: Iterable[str]) -> RolloutTrace:
        """A rollout in which every operator does what it usually does."""
        layers = [LayerSpan(0.0, 0.0, tuple(self._run_of(name) for name in names)) for names in architecture]
        return RolloutTrace(
            query_id="expected",
            rollout=0,
            policy="expected",
            step=0,
            mode=mode,
            architecture=architecture,
            started=0.0,
            ended=0.0,
            layers=tuple(layers),
            finaliser=LayerSpan(0.0, 0.0, tuple(self._run_of(name) for name in finaliser)),
            answer="",
        )

    def _run_of(self, name: str) -> OperatorSpan:
        if name not in self._typical:
            runs = sorted(self._runs.get(name, ()), key=_num_output_tokens)
            self._typical[name] = runs[len(runs) // 2] if runs else self._prior(name)
        return self._typical[name]

    def _prior(self, name: str) -> OperatorSpan:
        operator = self._operators[name]
        request = RequestSpan(
            request_id="prior",
            seed=0,
            started=0.0,
            ended=0.0,
            timing=RequestTiming(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            num_prompt_tokens=PRIOR_PROMPT_TOKENS,
            num_output_tokens=self._config.sampling.max_tokens,
        )
        num_added = max_added(operator)
        return OperatorSpan(
            name, 0.0, 0.0, ((request,),), reads=operator.reads, num_added=1 if num_added is None else num_added
        )


def _is_whole(span: OperatorSpan) -> bool:
    """Whether each of its requests was answered."""
    return all(one.timing is not None for step in span.steps for one in step if one.kind == "request")


def _num_output_tokens(span: OperatorSpan) -> int:
    return sum(one.num_output_tokens for step in span.steps for one in step if one.kind == "request")
