"""Seeds depend on what is done, and only on that."""

from __future__ import annotations

from lamas_local.seeds import derive_seed


def test_the_same_parts_give_the_same_seed_on_every_machine() -> None:
    assert derive_seed(0, "draw", 1) == derive_seed(0, "draw", 1)
    assert derive_seed("a") == 1243827285


def test_every_part_and_their_order_matter() -> None:
    seeds = [
        derive_seed(*parts) for parts in ((0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (1, "a", 0), (0, "a"))
    ]
    assert len(set(seeds)) == len(seeds)


def test_parts_do_not_run_into_each_other() -> None:
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_seeds_fit_the_engine_and_torch() -> None:
    assert all(0 <= derive_seed("range", i) < 2**31 for i in range(1000))
