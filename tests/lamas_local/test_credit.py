"""Every credit rule on one worked example, and the normalisation by hand."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from lamas_local.config import LatencyConfig, ObjectiveConfig
from lamas_local.credit import UtilityEma, policy_loss, subtract_leave_one_out, utilities
from lamas_local.latency import measure
from lamas_local.trace import ExecutionMode
from tests.lamas_local.builders import layer, operator, trace

Rule = Literal["none", "uniform", "critical_path", "slack", "to_go"]
TOKENS = LatencyConfig(signal="tokens")

# Layer 1 draws A and B, 50 and 150 tokens; layer 2 draws C and EarlyStop, 100 tokens: CP 250 tokens, 5 proxy seconds.
# By the clock A takes 4 s, B 1 s and C 2 s: 6 s, and A is critical.
ARCHITECTURE = (("A", "B"), ("C", "EarlyStop"))
LAYERS = (layer(operator(50, seconds=4.0), operator(150, seconds=1.0)), layer(operator(100, seconds=2.0)))


def pay(rule: Rule, signal: LatencyConfig = TOKENS, mode: ExecutionMode = "layered") -> list[object]:
    """What each drawn operator loses to latency, weight 0.1, with a score of 1 and no cost."""
    objective = ObjectiveConfig(credit=rule, latency_weight=0.1, cost_weight=0.0)
    credited = utilities(ARCHITECTURE, 1.0, 0.5, measure(trace(*LAYERS, mode=mode), signal), objective, signal)
    return [[pytest.approx(1.0 - value) for value in drawn] for drawn in credited]


def test_who_pays_in_layers() -> None:
    assert pay("none") == [[0, 0], [0, 0]]
    assert pay("uniform") == [[0.5, 0.5], [0.5, 0.5]]
    assert pay("critical_path") == [[0, 0.5], [0.5, 0]]
    # Without B, layer 1 would take 50 tokens instead of 150; without C, layer 2 nothing.
    assert pay("slack") == [[0, 0.2], [0.2, 0]]
    # And whoever is drawn in layer 1 could have avoided layer 2's 2 proxy seconds.
    assert pay("to_go") == [[0.2, 0.4], [0.2, 0]]


def test_who_pays_one_after_another() -> None:
    # 300 tokens, 6 proxy seconds, and everything that ran is on the path.
    assert pay("none", mode="sequential") == [[0, 0], [0, 0]]
    assert pay("uniform", mode="sequential") == [[0.6, 0.6], [0.6, 0.6]]
    assert pay("critical_path", mode="sequential") == [[0.6, 0.6], [0.6, 0]]
    assert pay("slack", mode="sequential") == [[0.1, 0.3], [0.2, 0]]
    assert pay("to_go", mode="sequential") == [[0.3, 0.5], [0.2, 0]]


def test_who_pays_without_barriers() -> None:
    # C starts at once: 150 tokens, 3 proxy seconds, B alone is on the path.
    assert pay("uniform", mode="dataflow") == [[0.3, 0.3], [0.3, 0.3]]
    assert pay("critical_path", mode="dataflow") == [[0, 0.3], [0, 0]]
    # Without B, C's 100 tokens would remain.
    assert pay("slack", mode="dataflow") == [[0, 0.1], [0, 0]]
    # Layer 2 adds nothing to what layer 1 takes.
    assert pay("to_go", mode="dataflow") == [[0, 0.1], [0, 0]]


def test_to_go_without_barriers_charges_who_made_room_for_what_came_later() -> None:
    # A alone takes 50 tokens; B, drawn after it, starts at once and takes 150. Had A been an EarlyStop, no B.
    objective = ObjectiveConfig(credit="to_go", latency_weight=0.1, cost_weight=0.0)
    layers = (layer(operator(20)), layer(operator(50)), layer(operator(150)))
    latency = measure(trace(*layers, mode="dataflow"), TOKENS)
    credited = utilities((("X",), ("A",), ("B",)), 1.0, 0.0, latency, objective, TOKENS)
    # X and A are off the path: they pay what the layers after them add, 130 and 100 tokens; B its slack, 100.
    assert [[round(1 - value, 9) for value in drawn] for drawn in credited] == [[0.26], [0.2], [0.2]]


def test_who_pays_by_the_clock() -> None:
    measured = LatencyConfig(signal="measured")
    assert pay("critical_path", measured) == [[0.6, 0], [0.6, 0]]
    assert pay("slack", measured) == [[0.3, 0], [0.2, 0]]


def test_an_early_stop_drawn_alone_is_never_critical() -> None:
    latency = measure(trace(LAYERS[0], layer()), TOKENS)
    for rule, expected in (("critical_path", 1.0), ("slack", 1.0), ("to_go", 1.0), ("uniform", 1.0 - 0.3)):
        objective = ObjectiveConfig(credit=rule, latency_weight=0.1, cost_weight=0.0)  # type: ignore[arg-type]
        credited = utilities((("A", "B"), ("EarlyStop",)), 1.0, 0.0, latency, objective, TOKENS)
        assert credited[1] == [pytest.approx(expected)]


def test_score_and_cost_are_everybodys() -> None:
    objective = ObjectiveConfig(credit="none", cost_weight=3.0)
    latency = measure(trace(*LAYERS), TOKENS)
    assert utilities(ARCHITECTURE, 0.75, 0.1, latency, objective, TOKENS) == [[pytest.approx(0.45)] * 2] * 2


def test_a_score_of_zero_is_a_score() -> None:
    credited = utilities(ARCHITECTURE, 0.0, 0.0, measure(trace(*LAYERS), TOKENS), ObjectiveConfig(), TOKENS)
    assert credited[0] == [0.0, pytest.approx(-0.005 * 5.0)]


def test_ema_by_hand() -> None:
    ema = UtilityEma(momentum=0.9)
    # Mean 2, standard deviation 1 (of the population): the first batch sets both.
    assert ema.normalise([1.0, 3.0]) == [pytest.approx(-1.0), pytest.approx(1.0)]
    # Mean 6, deviation 2: 0.9 * 2 + 0.1 * 6 = 2.4 and 0.9 * 1 + 0.1 * 2 = 1.1.
    assert ema.normalise([4.0, 8.0]) == [pytest.approx(1.6 / 1.1), pytest.approx(5.6 / 1.1)]
    assert [ema.mean, ema.std] == pytest.approx([2.4, 1.1])


def test_a_mean_of_zero_is_kept_as_a_mean() -> None:
    ema = UtilityEma(momentum=0.5)
    ema.normalise([-1.0, 1.0])
    ema.normalise([4.0, 4.0])
    assert [ema.mean, ema.std] == pytest.approx([2.0, 0.5])


def test_a_constant_utility_has_no_advantage() -> None:
    ema = UtilityEma(momentum=0.95)
    for _ in range(5):
        assert ema.normalise([0.7] * 6) == pytest.approx([0.0] * 6, abs=1e-6)


def test_loss_is_minus_the_mean_of_log_prob_times_advantage() -> None:
    log_probs = torch.tensor([-1.0, -2.0, -4.0], requires_grad=True)
    advantages = torch.tensor([3.0, 0.0, -0.5], requires_grad=True)
    loss = policy_loss(log_probs, advantages)
    assert float(loss.detach()) == pytest.approx(-(-3.0 + 0.0 + 2.0) / 3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == pytest.approx([-1.0, 0.0, 0.5 / 3])
    assert advantages.grad is None


def test_leave_one_out_takes_the_querys_difficulty_out() -> None:
    credited = [[[1.0], [0.0]], [[0.0]], None, [[0.25]], [[3.0]]]
    groups = ["a", "a", "a", "b", "c"]
    #            rollout 0 is compared with 0.0, rollout 1 with 0.5; 3 and 4 have no sibling that ran
    assert subtract_leave_one_out(credited, groups) == [[[1.0], [0.0]], [[-0.5]], None, [[0.25]], [[3.0]]]
