"""A cost model fitted while a run goes on, its error on rollouts that are new to it, and its file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamas_local.config import Config, ConfigError
from lamas_local.cost_model import CostModel, Seconds, Work, fit_cost_model, mape
from lamas_local.engine_config import OpenAIEngineConfig
from lamas_local.engine_load import observable, observe
from lamas_local.retiming import under_own_load
from lamas_local.trace import RolloutTrace

MIN_REQUESTS = 20
"""Fewer say too little about six parameters."""
WINDOW = 4096
"""Newest requests the model is fitted to: a machine's speed drifts, and a step must not get slower as a run grows."""


class Calibration:
    """The model of a run's engine, fitted again after every step to the newest requests."""

    def __init__(self) -> None:
        self.model: CostModel | None = None
        """None until there are `MIN_REQUESTS`."""
        self.num_requests = 0
        """Fitted to."""
        self._window: tuple[Work, Seconds] | None = None

    @classmethod
    def of(cls, traces: Iterable[RolloutTrace]) -> Calibration:
        """Fitted offline to the training rollouts among a run's: to the bit what adding them step by step makes."""
        steps: dict[int, list[RolloutTrace]] = {}
        for trace in traces:
            if trace.policy == "train":
                steps.setdefault(trace.step, []).append(trace)
        calibration = cls()
        for step in sorted(steps):
            calibration._take(steps[step])
        calibration._fit()
        return calibration

    def add(self, traces: Sequence[RolloutTrace]) -> None:
        """Take in rollouts that ran at the same time and on an engine of their own, and fit again."""
        self._take(traces)
        self._fit()

    def _take(self, traces: Sequence[RolloutTrace]) -> None:
        requests = observable(traces)
        if not requests:
            return
        work, seconds = observe(requests)
        lasting = (seconds.total > 0) & np.array([span.num_retries == 0 for span in requests])
        work, seconds = work.rows(lasting), seconds.rows(lasting)
        if self._window is not None:
            work, seconds = Work.join([self._window[0], work]), Seconds.join([self._window[1], seconds])
        newest = slice(-WINDOW, None)
        self._window = work.rows(newest), seconds.rows(newest)

    def _fit(self) -> None:
        if self._window is not None and len(self._window[0]) >= MIN_REQUESTS:
            self.model = fit_cost_model(*self._window)
            self.num_requests = len(self._window[0])


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """How far a model is from what was measured; None where nothing was."""

    requests: float | None
    """Mean absolute error of a request's seconds, relative."""
    rollouts: float | None
    """The same of a rollout's, of those that did not fail and reused nothing."""


def calibration_error(traces: Sequence[RolloutTrace], model: CostModel) -> CalibrationError:
    """The error on rollouts that ran on one engine over some time; held out where none of them was fitted to."""
    requests = observable(traces)
    if not requests:
        return CalibrationError(None, None)
    work, seconds = observe(requests)
    ran = [
        (predicted.ended - predicted.started, trace.ended - trace.started)
        for trace, predicted in zip(traces, under_own_load(traces, model), strict=True)
        if trace.failure is None and trace.is_live
    ]
    return CalibrationError(
        requests=mape(model.predict(work).total, seconds.total),
        rollouts=mape([predicted for predicted, _ in ran], [measured for _, measured in ran]),
    )


def check_signal(config: Config) -> None:
    """Raises ConfigError where no cost model can be fitted to the engine that is to be trained with."""
    if config.latency.signal == "calibrated" and isinstance(config.engine, OpenAIEngineConfig):
        raise ConfigError(
            "latency.signal is 'calibrated', which engine.kind 'openai' cannot be: it does not tell waiting from "
            "prefill; take 'measured' or 'tokens'"
        )


def is_held_out(query_id: str) -> bool:
    """Half of all queries, by a hash: the same ones in every run, whatever was measured of them."""
    return hashlib.blake2b(query_id.encode(), digest_size=1).digest()[0] % 2 == 1


def dump_calibration(calibration: Calibration, step: int) -> bytes:
    """`calibration.json`: the parameters (see `CostModel` for units), and what they were fitted to."""
    model = None if calibration.model is None else asdict(calibration.model)
    content: Mapping[str, Any] = {"step": step, "num_requests": calibration.num_requests, "model": model}
    return json.dumps(content, indent=2).encode()


def load_cost_model(path: Path) -> CostModel | None:
    """The model of a `calibration.json`; None where there is no such file or no model in it yet.

    Raises:
        ConfigError: it is not such a file.
    """
    if not path.is_file():
        return None
    try:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        return None if model is None else CostModel(**{name: float(value) for name, value in model.items()})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: the calibration cannot be read: {error}") from error
