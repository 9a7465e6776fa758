"""What a constrained training is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lamas_local.baselines import PENALTY
from lamas_local.config import Config, ConfigError, ObjectiveConfig


@dataclass(frozen=True, slots=True)
class Goal:
    """One constraint."""

    title: str
    setting: float
    """The budget in seconds or the floor's share."""
    objective: dict[str, Any]
    """Its settings in `objective`."""

    @classmethod
    def budget(cls, statistic: str, seconds: float) -> Goal:
        """At most so many seconds, by their `mean` or `p95`."""
        settings = {"kind": "latency_budget", "latency_budget_statistic": statistic, "latency_budget_s": seconds}
        return cls(f"{statistic} seconds", seconds, settings)

    @classmethod
    def floor(cls, share: float) -> Goal:
        """At least that share of the baseline's score."""
        return cls("score", share, {"kind": "score_floor", "score_floor_share": share})

    def config(self, config: Config, seed: int) -> Config:
        """The configuration with this goal and a seed.

        Raises:
            ConfigError: the goal is none, such as a budget of 0 s.
        """
        settings = {**config.objective.model_dump(), **PENALTY, **self.objective}
        try:
            objective = ObjectiveConfig.model_validate(settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(f"{self.title}: {first['msg']}, got {first['input']!r}") from error
        return config.model_copy(update={"objective": objective, "seed": seed})
