from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.prefix_cache import PrefixCache


def test_hits_are_the_longest_common_beginning() -> None:
    cache = PrefixCache(num_blocks=10)
    assert cache.take([1, 2, 3]) == 0
    assert cache.take([1, 2, 4]) == 2
    assert cache.take([9, 2, 3]) == 0, "what follows a miss does not count"
    assert cache.take([1, 2, 4]) == 3


def test_the_least_recently_used_go_first_and_of_a_prompt_its_end() -> None:
    cache = PrefixCache(num_blocks=4)
    cache.take([1, 2])
    cache.take([5, 6])
    cache.take([1, 2])
    cache.take([7])  # room is left by 6, the end of the prompt that was used least recently
    assert cache.take([5]) == 1
    cache = PrefixCache(num_blocks=2)
    cache.take([1, 2, 3])
    assert cache.take([1, 2, 3]) == 2


def test_without_blocks_nothing_is_ever_there() -> None:
    cache = PrefixCache(num_blocks=0)
    assert cache.take([1]) == cache.take([1]) == 0


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=20), st.integers(0, 8))
def test_it_never_outgrows_its_bound(prompts: list[list[int]], num_blocks: int) -> None:
    cache = PrefixCache(num_blocks)
    for keys in prompts:
        assert 0 <= cache.take(keys) <= len(keys)
        assert len(cache) <= num_blocks
