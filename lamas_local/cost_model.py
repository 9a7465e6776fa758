"""What requests cost on a continuously batching engine, in seconds: a model with six parameters, fitted to stamps.

The engine works in steps. A step takes `step_s + running_s * (requests in it) + prefill_token_s * (prompt tokens
prefilled in it)`, and every request in it gets one token. So a prefill is one step, and n output tokens are n - 1 more.
A request that comes while a step is under way waits for its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import optimize

Floats = npt.NDArray[np.float64]
TableT = TypeVar("TableT", bound="Table")

NUM_REWEIGHTINGS = 8
SMALL_ERROR = 0.02
"""Relative errors below this weigh alike, so that an exact fit has finite weights."""


class Table:
    """Columns of equal length; a row a request."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.columns()[0])

    def columns(self) -> list[Floats]:
        """In the order of the fields."""
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]

    def rows(self: TableT, which: Any) -> TableT:
        """The rows of a slice, of a mask or at positions."""
        return type(self)(*(column[which] for column in self.columns()))

    @classmethod
    def join(cls: type[TableT], tables: Sequence[TableT]) -> TableT:
        """One below the other; at least one table."""
        return cls(*(np.concatenate(columns) for columns in zip(*(one.columns() for one in tables), strict=True)))


@dataclass(frozen=True, slots=True)
class Work(Table):
    """What each request had to do, and what the engine did beside it."""

    wait_running: Floats
    """Requests in the step that was under way when it came; 0 when the engine was idle."""
    wait_tokens: Floats
    """Prompt tokens prefilled in that step."""
    prefill_running: Floats
    """Requests in the step of its prefill, itself included."""
    prefill_tokens: Floats
    """Uncached prompt tokens prefilled in that step, its own included."""
    decode_steps: Floats
    """Output tokens after the first."""
    decode_running: Floats
    """Requests in its decode's steps on average, itself included."""
    decode_tokens: Floats
    """Prompt tokens of others that were prefilled during its decode."""


@dataclass(frozen=True, slots=True)
class Seconds(Table):
    """Where each request's seconds went."""

    wait: Floats
    """From the caller's hand to its first step."""
    prefill: Floats
    """Until its first token."""
    decode: Floats
    """Until its last token."""
    back: Floats
    """Until the caller had it."""

    @property
    def total(self) -> Floats:
        """Of the whole request."""
        return self.wait + self.prefill + self.decode + self.back


@dataclass(frozen=True, slots=True)
class CostModel:
    """Six parameters, none below 0."""

    step_s: float
    """Seconds of every engine step."""
    running_s: float
    """Seconds more per request in the step."""
    prefill_token_s: float
    """Seconds more per prompt token prefilled in the step."""
    wait_s: float
    """Seconds of waiting that no step explains."""
    wait_steps: float
    """Share of the step under way that a request waits for, at most 1."""
    return_s: float
    """Seconds from the last token to the caller."""

    def predict(self, work: Work) -> Seconds:
        """The seconds of each request."""
        under_way = self._steps(1.0, work.wait_running, work.wait_tokens) * (work.wait_running > 0)
        return Seconds(
            wait=self.wait_s + self.wait_steps * under_way,
            prefill=self._steps(1.0, work.prefill_running, work.prefill_tokens),
            decode=self._steps(work.decode_steps, work.decode_running, work.decode_tokens),
            back=np.full(len(work), self.return_s),
        )

    def _steps(self, num_steps: Floats | float, running: Floats, tokens: Floats) -> Floats:
        return num_steps * (self.step_s + self.running_s * running) + self.prefill_token_s * tokens


def fit_cost_model(work: Work, seconds: Seconds) -> CostModel:
    """The model nearest to measured requests: least absolute errors, each relative to its request's own seconds.

    Absolute rather than squared errors, as a machine that is busy with something else makes requests slower, never
    faster. The parameters of a step are fitted first; what a request waits for is a share of such a step.
    """
    whole = seconds.total
    one = np.ones(len(work))
    prefill = np.column_stack([one, work.prefill_running, work.prefill_tokens])
    decode = np.column_stack([work.decode_steps, work.decode_steps * work.decode_running, work.decode_tokens])
    step_s, running_s, prefill_token_s = _solve(
        np.concatenate([prefill, decode]),
        np.concatenate([seconds.prefill, seconds.decode]),
        np.concatenate([whole, whole]),
    )
    step = CostModel(step_s, running_s, prefill_token_s, wait_s=0.0, wait_steps=1.0, return_s=0.0)
    under_way = step.predict(work).wait
    wait_s, wait_steps = _solve(np.column_stack([one, under_way]), seconds.wait, whole, upper=(np.inf, 1.0))
    (return_s,) = _solve(one[:, None], seconds.back, whole)
    return CostModel(step_s, running_s, prefill_token_s, wait_s, wait_steps, return_s)


def mape(predicted: Sequence[float] | Floats, measured: Sequence[float] | Floats) -> float | None:
    """Mean absolute error relative to the measured values above 0; None where there are none."""
    expected, seen = np.asarray(predicted, dtype=float), np.asarray(measured, dtype=float)
    kept = seen > 0
    return float(np.mean(np.abs(expected[kept] - seen[kept]) / seen[kept])) if kept.any() else None


def _solve(
    columns: Floats, target: Floats, scale: Floats, upper: float | tuple[float, ...] = np.inf
) -> tuple[float, ...]:
    """Coefficients between 0 and `upper` with the least sum of `|columns @ x - target| / scale`, by reweighting."""
    weights = 1.0 / scale
    solution = np.zeros(columns.shape[1])
    for _ in range(NUM_REWEIGHTINGS):
        # bvls ends on a bound exactly: a parameter that explains nothing is 0, not 1e-9.
        solution = optimize.lsq_linear(
            columns * weights[:, None], target * weights, (0.0, upper), method="bvls", max_iter=100
        ).x
        errors = np.abs(columns @ solution - target) / scale
        weights = 1.0 / scale / np.sqrt(np.maximum(errors, SMALL_ERROR))
    return tuple(float(value) for value in np.clip(solution, 0.0, upper))
