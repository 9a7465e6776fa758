"""pass@k against what it stands for."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.tasks.pass_at_k import pass_at_k


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_it_is_the_share_of_draws_with_a_correct_sample(numbers: tuple[int, int, int]) -> None:
    num_samples, num_correct, k = numbers
    draws = list(combinations([True] * num_correct + [False] * (num_samples - num_correct), k))
    assert pass_at_k(num_samples, num_correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_pass_at_1_is_the_share_of_correct_samples() -> None:
    assert pass_at_k(200, 33, 1) == pytest.approx(33 / 200)


@pytest.mark.parametrize(
    ("numbers", "said"), [((5, 6, 1), "num_correct"), ((5, -1, 1), "num_correct"), ((5, 1, 6), "k"), ((5, 1, 0), "k")]
)
def test_numbers_out_of_range(numbers: tuple[int, int, int], said: str) -> None:
    with pytest.raises(ValueError, match=f"{said} must be"):
        pass_at_k(*numbers)
