"""A prefix cache as a simulation needs it: which blocks of a prompt are there already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """Blocks by key, where a key stands for its block and everything before it; the least recently used go first."""

    def __init__(self, num_blocks: int) -> None:
        """Hold at most `num_blocks` blocks; 0 caches nothing."""
        self._num_blocks = num_blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def take(self, keys: Sequence[int]) -> int:
        """How many of a prompt's first blocks are there; afterwards all of them are."""
        num_hits = 0
        while num_hits < len(keys) and keys[num_hits] in self._blocks:
            num_hits += 1
        # The last block of a prompt is the oldest: without the blocks before it, it is of no use.
        for key in reversed(keys):
            self._blocks[key] = None
            self._blocks.move_to_end(key)
        while len(self._blocks) > self._num_blocks:
            self._blocks.popitem(last=False)
        return num_hits
