"""The exact probability of every ordered outcome, by brute force, and what follows from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lamas_local.sampling import LogProbKind, draw_layer, draw_log_probs

Drawn = tuple[int, ...]

# (weights, threshold, stop index); a weight of 0 is a forbidden operator. The sums that only just reach the
# threshold are exact here and not in floating point.
CASES: list[tuple[tuple[int, ...], Fraction, int | None]] = [
    ((1, 1, 1, 1), Fraction(3, 10), None),
    ((1, 2, 7), Fraction(3, 10), None),
    ((1, 2, 3, 4), Fraction(3, 10), 1),
    ((0, 5, 0, 1, 4), Fraction(6, 10), 4),
    ((1, 1, 1, 1, 1, 1, 4), Fraction(1), 0),
    ((0, 0, 1), Fraction(1, 2), None),
    ((1, 999), Fraction(1, 100), 0),
]


def outcomes(weights: tuple[int, ...], threshold: Fraction, stop: int | None) -> Iterator[tuple[Drawn, Fraction]]:
    """Every ordered outcome of the draw tree with its exact probability."""
    total = sum(weights)

    def below(drawn: Drawn, probability: Fraction) -> Iterator[tuple[Drawn, Fraction]]:
        mass = sum(weights[i] for i in drawn)
        if drawn and (mass >= threshold * total or drawn[-1] == stop):
            yield drawn, probability
            return
        for i, weight in enumerate(weights):
            if weight and i not in drawn:
                yield from below((*drawn, i), probability * Fraction(weight, total - mass))

    return below((), Fraction(1))


def log_probabilities(weights: tuple[int, ...]) -> torch.Tensor:
    return torch.log(torch.tensor(weights, dtype=torch.float64) / sum(weights))


def total_log_prob(log_p: torch.Tensor, drawn: Drawn, kind: LogProbKind = "exact") -> torch.Tensor:
    return draw_log_probs(log_p, drawn, kind).sum()


@pytest.mark.parametrize(("weights", "threshold", "stop"), CASES)
def test_exact_probabilities_of_all_ordered_outcomes_sum_to_one(
    weights: tuple[int, ...], threshold: Fraction, stop: int | None
) -> None:
    log_p = log_probabilities(weights)
    total = 0.0
    for drawn, probability in outcomes(weights, threshold, stop):
        ours = float(total_log_prob(log_p, drawn).exp())
        assert ours == pytest.approx(float(probability), abs=1e-12)
        total += ours
    assert total == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("weights", "threshold", "stop"), CASES)
def test_drawn_frequencies_are_the_exact_probabilities(
    weights: tuple[int, ...], threshold: Fraction, stop: int | None
) -> None:
    probabilities = log_probabilities(weights).exp().float()
    generator = torch.Generator().manual_seed(7)
    num_draws = 4000
    seen = Counter(tuple(draw_layer(probabilities, float(threshold), stop, generator)) for _ in range(num_draws))
    expected = dict(outcomes(weights, threshold, stop))
    assert seen.keys() <= expected.keys()
    # Rare outcomes share one bin, as the chi-square test wants at least 5 of each.
    often = [drawn for drawn, p in expected.items() if p * num_draws >= 5]
    observed = [float(seen[drawn]) for drawn in often]
    wanted = [float(expected[drawn] * num_draws) for drawn in often]
    if num_draws - sum(wanted) > 1e-6:
        observed.append(num_draws - sum(observed))
        wanted.append(num_draws - sum(wanted))
    if len(wanted) > 1:
        assert stats.chisquare(observed, wanted).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["exact", "independent"])
@pytest.mark.parametrize("drawn", [(0,), (2, 0), (4, 2, 0)])
def test_gradients_match_finite_differences(kind: LogProbKind, drawn: Drawn) -> None:
    forbidden = torch.tensor([False, True, False, True, False])
    logits = torch.tensor([0.3, 9.0, -1.2, 0.0, 2.0], dtype=torch.float64, requires_grad=True)

    def log_probs(z: torch.Tensor) -> torch.Tensor:
        return draw_log_probs(torch.log_softmax(z.masked_fill(forbidden, -torch.inf), dim=-1), drawn, kind)

    assert torch.autograd.gradcheck(log_probs, (logits,))


def expected_gradient(weights: tuple[int, ...], threshold: Fraction, stop: int | None, kind: LogProbKind) -> float:
    """Largest entry of `E[reward * grad log-prob]` for a reward of 1, over every outcome."""
    logits = torch.log(torch.tensor([w or 1 for w in weights], dtype=torch.float64)).requires_grad_()
    masked = logits.masked_fill(torch.tensor(weights) == 0, -torch.inf)
    log_p = torch.log_softmax(masked, dim=-1)
    terms = [float(p) * total_log_prob(log_p, drawn, kind) for drawn, p in outcomes(weights, threshold, stop)]
    [gradient] = torch.autograd.grad(torch.stack(terms).sum(), logits)
    return float(gradient.abs().max())


@pytest.mark.parametrize(("weights", "threshold", "stop"), CASES)
def test_a_constant_reward_has_no_expected_gradient(
    weights: tuple[int, ...], threshold: Fraction, stop: int | None
) -> None:
    assert expected_gradient(weights, threshold, stop, "exact") < 1e-12


def test_the_papers_independent_log_probs_do_have_one() -> None:
    assert expected_gradient((1, 2, 7), Fraction(3, 10), None, "independent") > 0.01


def test_a_nearly_certain_draw_keeps_finite_log_probs_and_gradients() -> None:
    logits = torch.tensor([60.0, 0.0, -60.0], requires_grad=True)
    log_probs = draw_log_probs(torch.log_softmax(logits, dim=-1), [0, 2, 1], "exact")
    assert log_probs.tolist() == pytest.approx([0.0, -60.0, 0.0], abs=1e-5)
    log_probs.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@given(
    weights=st.lists(st.integers(0, 20), min_size=1, max_size=7).filter(any),
    threshold=st.floats(0.01, 1.0),
    with_stop=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_draw_keeps_the_rules(weights: list[int], threshold: float, with_stop: bool, seed: int) -> None:
    probabilities = torch.tensor(weights, dtype=torch.float32) / sum(weights)
    stop = len(weights) - 1 if with_stop else None
    drawn = draw_layer(probabilities, threshold, stop, torch.Generator().manual_seed(seed))
    assert drawn
    assert len(set(drawn)) == len(drawn)
    assert all(weights[i] > 0 for i in drawn)
    assert stop not in drawn[:-1]
    mass = sum(weights[i] for i in drawn) / sum(weights)
    assert mass >= threshold - 1e-5 or drawn[-1] == stop
    before = sum(weights[i] for i in drawn[:-1]) / sum(weights)
    assert before < threshold
    assert math.isfinite(float(total_log_prob(torch.log(probabilities), tuple(drawn))))


def test_a_sure_policy_draws_one_operator_and_an_unsure_one_several() -> None:
    generator = torch.Generator().manual_seed(0)
    sure, unsure = torch.tensor([0.97, 0.01, 0.01, 0.01]), torch.full((7,), 1 / 7)
    assert {len(draw_layer(unsure, 0.3, None, generator)) for _ in range(20)} == {3}
    assert sum(len(draw_layer(sure, 0.3, None, generator)) == 1 for _ in range(100)) > 80


def test_drawing_uses_no_randomness_but_its_generator() -> None:
    probabilities = torch.full((6,), 1 / 6)
    draws = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        draws.append(draw_layer(probabilities, 0.9, None, torch.Generator().manual_seed(3)))
    assert draws[0] == draws[1]
