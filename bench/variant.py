"""The rows of the ablation: what each changes in a run's configuration, and how it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamas_local.baselines import BASELINES
from lamas_local.config import Config, ConfigError, nearest
from lamas_local.trace import ExecutionMode

Sections = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Variant:
    """One row. What it does not change is the configuration's own."""

    name: str
    changes: Sections
    """Section -> the settings that differ there while it is trained."""
    mode: ExecutionMode = "layered"
    """How it is evaluated."""
    run: str = ""
    """The variant whose trained controller it takes, with the same changes; its own when empty."""
    is_swept: bool = False
    """Whether it is trained once with each latency weight of the sweep."""
    is_ours: bool = False
    asks: str = ""
    """The `objective` setting that the command line must give for it to take part."""


def _joined(*parts: Sections) -> Sections:
    """Later parts win, setting by setting."""
    sections: dict[str, dict[str, Any]] = {}
    for part in parts:
        for section, values in part.items():
            sections.setdefault(section, {}).update(values)
    return sections


def _clock(signal: str, credit: str) -> Sections:
    return {
        "execution": {"mode": "layered"},
        "latency": {"signal": signal},
        "objective": {"credit": credit},
    }


_MAAS = _joined(BASELINES["maas"], {"execution": {"mode": "layered"}})
_TOKENS = _joined(_clock("tokens", "critical_path"), {"latency": {"tokens_per_second": 50.0}})
_TO_GO = _clock("calibrated", "to_go")
_DATAFLOW: Sections = {"execution": {"mode": "dataflow"}}

PUBLISHED_LEARNING: Sections = {
    # The reference has no logit scale, so this one stays at 1; its log-probabilities are those of independent draws.
    "controller": {"initial_scale": 1.0, "num_layers": 4, "hidden_size": 32, "threshold": 0.3},
    "trainer": {
        "learning_rate": 0.01,
        "scale_learning_rate": 1e-12,
        "queries_per_step": 4,
        "rollouts_per_query": 4,
        "log_prob": "independent",
    },
}
"""The papers' settings where the configuration has found better ones (DESIGN.md section 8)."""

VARIANTS: tuple[Variant, ...] = (
    Variant("maas-sequential", _MAAS, mode="sequential", run="maas-layered"),
    Variant("maas-layered", _MAAS),
    # What dataflow saves without having been trained for.
    Variant("maas-dataflow", _MAAS, mode="dataflow", run="maas-layered"),
    # LAMaS as published: with the papers' own learning settings, with the configuration's, and with a swept weight.
    Variant("lamas-own-settings", _joined(BASELINES["lamas"], PUBLISHED_LEARNING)),
    Variant("lamas", BASELINES["lamas"]),
    Variant("lamas-tuned", _TOKENS, is_swept=True),
    # One change each to lamas-tuned.
    Variant("uniform", _joined(_TOKENS, {"objective": {"credit": "uniform"}}), is_swept=True),
    Variant("no-ema", _joined(_TOKENS, {"trainer": {"ema_momentum": 0.0}}), is_swept=True),
    Variant("measured", _clock("measured", "critical_path"), is_swept=True, is_ours=True),
    # One change each to the row above.
    Variant("calibrated", _clock("calibrated", "critical_path"), is_swept=True, is_ours=True),
    Variant("slack", _clock("calibrated", "slack"), is_swept=True, is_ours=True),
    Variant("to-go", _TO_GO, is_swept=True, is_ours=True),
    Variant("dataflow", _joined(_TO_GO, _DATAFLOW), mode="dataflow", is_swept=True, is_ours=True),
    # A constraint in place of a weight.
    Variant(
        "latency-budget",
        _joined(_TO_GO, _DATAFLOW, {"objective": {"kind": "latency_budget"}}),
        mode="dataflow",
        is_ours=True,
        asks="latency_budget_s",
    ),
    Variant(
        "score-floor",
        _joined(_TO_GO, _DATAFLOW, {"objective": {"kind": "score_floor"}}),
        mode="dataflow",
        is_ours=True,
        asks="score_floor_share",
    ),
)
"""`no-ema`: utilities are normalised by their own batch's mean and standard deviation (momentum 0)."""

ALWAYS = ("maas-layered", "lamas")
"""What the others are compared with."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant, and the latency weight it is trained with where that is swept."""

    variant: Variant
    weight: float | None = None
    asked: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of its policy and of its run's folder."""
        return self.variant.name if self.weight is None else f"{self.variant.name}@{self.weight:g}"

    @property
    def run(self) -> str:
        """Name of the run whose controller it has."""
        return self.variant.run or self.name

    def config(self, config: Config, run_dir: Path) -> Config:
        """What its run is trained with, on as many rollouts as the configuration's own.

        Raises:
            ConfigError: the changed settings do not go together.
        """
        own = dict(self.asked) | ({} if self.weight is None else {"latency_weight": self.weight})
        tree = config.model_dump(mode="json")
        for section, values in _joined(self.variant.changes, {"objective": own}).items():
            tree[section] |= values
        batch = tree["trainer"]["queries_per_step"] * tree["trainer"]["rollouts_per_query"]
        tree["trainer"]["num_steps"] = max(1, round(num_rollouts(config) / batch))
        try:
            return Config.model_validate(tree | {"run_dir": str(run_dir)})
        except ValueError as error:
            raise ConfigError(f"variant {self.variant.name}: {' '.join(str(error).split())}") from error


def num_rollouts(config: Config) -> int:
    """Of one training run."""
    trainer = config.trainer
    return trainer.num_steps * trainer.queries_per_step * trainer.rollouts_per_query


def choose_candidates(
    names: Sequence[str] | None, weights: Sequence[float], asked: Mapping[str, float | None]
) -> list[Candidate]:
    """What takes part, in the table's order.

    Args:
        names: of variants; all when None. `ALWAYS` and the variants whose controllers they take are added.
        weights: the sweep.
        asked: what the command line gives of the settings that variants ask for.

    Raises:
        ConfigError: an unknown name, or a named variant whose setting is not given.
    """
    known = {variant.name: variant for variant in VARIANTS}
    for name in names or ():
        if name not in known:
            raise ConfigError(f"--variants: {name!r} is unknown{nearest(name, known)}; known: {', '.join(known)}")
        if known[name].asks and asked[known[name].asks] is None:
            raise ConfigError(f"--variants: {name!r} needs --{known[name].asks.replace('_', '-')}")
    wanted = set(known if names is None else (*names, *(known[name].run for name in names), *ALWAYS))
    candidates: list[Candidate] = []
    for variant in VARIANTS:
        value = asked[variant.asks] if variant.asks else None
        if variant.name not in wanted or (variant.asks and value is None):
            continue
        given = {} if value is None else {variant.asks: value}
        swept = sorted(set(weights)) if variant.is_swept else [None]
        candidates += [Candidate(variant, weight, given) for weight in swept]
    return candidates
