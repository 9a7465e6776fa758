"""Every row changes what it says it changes, and all of them train on equally much."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.trained_run import FREE
from bench.variant import ALWAYS, VARIANTS, Candidate, choose_candidates, num_rollouts
from lamas_local.commands import differences
from lamas_local.config import Config, ConfigError
from tests.lamas_local.builders import make_config

NOTHING: dict[str, float | None] = {"latency_budget_s": None, "score_floor_share": None}
CONFIG = make_config(
    objective={"credit": "to_go", "latency_weight": 0.08},
    latency={"signal": "calibrated"},
    trainer={"num_steps": 24, "queries_per_step": 8, "rollouts_per_query": 4, "baseline": "leave_one_out"},
)
VARIANT = {variant.name: variant for variant in VARIANTS}


def config_of(name: str, weight: float | None = None) -> Config:
    return Candidate(VARIANT[name], weight).config(CONFIG, Path("runs/one"))


def changed(one: Config, other: Config) -> set[str]:
    return {key for key, *_ in differences(one, other) if not key.startswith(FREE)}


@pytest.mark.parametrize(
    ("one", "other", "keys"),
    [
        ("lamas-tuned", "uniform", {"objective.credit"}),
        ("lamas-tuned", "no-ema", {"trainer.ema_momentum"}),
        ("lamas-tuned", "measured", {"latency.signal"}),
        ("measured", "calibrated", {"latency.signal"}),
        ("calibrated", "slack", {"objective.credit"}),
        ("slack", "to-go", {"objective.credit"}),
        ("to-go", "dataflow", {"execution.mode"}),
    ],
)
def test_a_row_differs_from_the_one_before_in_one_thing(one: str, other: str, keys: set[str]) -> None:
    assert changed(config_of(one, 0.1), config_of(other, 0.1)) == keys


def test_lamas_is_the_published_objective() -> None:
    lamas = config_of("lamas")
    assert (lamas.latency.signal, lamas.objective.credit, lamas.objective.latency_weight) == (
        "tokens",
        "critical_path",
        0.005,
    )
    assert (lamas.trainer.baseline, lamas.trainer.ema_momentum, lamas.execution.mode) == ("ema", 0.95, "layered")
    own = config_of("lamas-own-settings")
    assert own.objective == lamas.objective
    assert (own.trainer.learning_rate, own.trainer.queries_per_step, own.trainer.log_prob) == (0.01, 4, "independent")


def test_every_run_has_as_many_rollouts() -> None:
    known = [variant for variant in VARIANTS if not variant.asks]
    counts = {num_rollouts(Candidate(variant).config(CONFIG, Path("runs/one"))) for variant in known}
    assert counts == {768}


def test_one_maas_controller_runs_in_three_modes() -> None:
    variants = [VARIANT[f"maas-{mode}"] for mode in ("sequential", "layered", "dataflow")]
    assert {Candidate(variant).run for variant in variants} == {"maas-layered"}
    assert len({config_of(variant.name).model_dump_json() for variant in variants}) == 1
    assert config_of("maas-layered").objective.credit == "none"
    assert [variant.mode for variant in variants] == ["sequential", "layered", "dataflow"]


def test_swept_variants_come_once_a_weight_and_constrained_ones_when_asked_for() -> None:
    names = [candidate.name for candidate in choose_candidates(None, [0.1, 0.03], NOTHING)]
    assert names[:3] == ["maas-sequential", "maas-layered", "maas-dataflow"]
    assert names.count("slack@0.03") == names.count("slack@0.1") == 1
    assert not {"latency-budget", "score-floor"} & set(names)
    asked = choose_candidates(None, [0.1], NOTHING | {"latency_budget_s": 2.0})
    assert asked[-1].name == "latency-budget"
    assert asked[-1].asked == {"latency_budget_s": 2.0}


def test_what_the_others_are_compared_with_always_takes_part() -> None:
    names = [candidate.name for candidate in choose_candidates(["slack"], [0.1], NOTHING)]
    assert names == [*ALWAYS, "slack@0.1"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("slak", r"'slak' is unknown \(did you mean 'slack'\?\)"), ("latency-budget", "needs --latency-budget-s")],
)
def test_names_that_cannot_be(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_candidates([name], [0.1], NOTHING)
