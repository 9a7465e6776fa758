"""pass@k from n samples of a problem, without bias (Chen et al. 2021, eq. 1)."""

from __future__ import annotations

from math import comb


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Chance that at least one of `k` samples is correct: `1 - C(n - c, k) / C(n, k)`, computed exactly.

    Args:
        num_samples: n, samples drawn for one problem.
        num_correct: c of them passed.
        k: 1 to n.

    Raises:
        ValueError: a number is out of its range.
    """
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"num_correct must be 0 to num_samples ({num_samples}), got {num_correct}")
    if not 1 <= k <= num_samples:
        raise ValueError(f"k must be 1 to num_samples ({num_samples}), got {k}")
    return 1 - comb(num_samples - num_correct, k) / comb(num_samples, k)
