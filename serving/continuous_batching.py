"""Continuous batching as a discrete-event model: which sequences are in which step, and how long the steps take.

A step takes `step_s + running_s * (sequences in it) + prefill_token_s * (prompt tokens prefilled in it)`. Every
sequence whose prompt is prefilled gets one token at the step's end. Sequences that come while a step is under way are
noticed at its end and taken in order of arrival, as far as there is room. Equal steps are passed in one stretch, which
ends where a sequence ends, comes or is aborted.

No clock and no event loop: whoever uses it calls `advance` at the times that `due` names.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from serving.prefix_cache import PrefixCache

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step and the ways to and from the engine cost, in seconds."""

    step_s: float
    """Every step."""
    running_s: float
    """Per sequence in the step."""
    prefill_token_s: float
    """Per prompt token prefilled in the step."""
    wait_s: float = 0.0
    """From the caller's hand until the engine can notice it."""
    return_s: float = 0.0
    """From the last token back to the caller."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What fits; vLLM's names."""

    max_num_seqs: int
    """Most sequences in a step."""
    max_num_batched_tokens: int
    """Most tokens in a step, one for each sequence that is past its prefill; longer prompts are prefilled in parts."""
    kv_cache_tokens: int
    """Tokens that all sequences in the engine may have together, each with all its output from the start on."""
    block_size: int
    """Tokens in a block of the cache; a sequence takes whole blocks."""


@dataclass(slots=True, eq=False)
class Sequence:
    """One request in the engine; stamps are absent until they happen."""

    num_prompt_tokens: int
    num_output_tokens: int
    block_keys: Items[int]
    arrival: float
    """When the engine can notice it."""
    num_cached_tokens: int = 0
    queued: float = NEVER
    scheduled: float = NEVER
    first_token: float = NEVER
    last_token: float = NEVER
    is_aborted: bool = False
    prefill_left: int = 0
    """Prompt tokens still to be prefilled."""


@dataclass(slots=True)
class ContinuousBatch:
    """The state of the engine between steps, and the stretch of equal steps that is under way."""

    cost: StepCost
    limits: BatchLimits
    noise: float = 0.0
    """Standard deviation of the logarithm of a factor on the steps of a stretch; its mean is 1."""
    seed: int = 0
    _arriving: deque[Sequence] = field(default_factory=deque)
    _waiting: deque[Sequence] = field(default_factory=deque)
    _prefilling: list[Sequence] = field(default_factory=list)
    _decoding: list[tuple[int, int, Sequence]] = field(default_factory=list)
    """A heap of (the step that makes its last token, order, sequence); aborted ones stay in it until they come up."""
    _aborted: list[Sequence] = field(default_factory=list)
    """Their places are free from the end of the step on."""
    _num_decoding: int = 0
    _used_blocks: int = 0
    _num_steps: int = 0
    """Ended so far."""
    _num_started: int = 0
    _start: float = NEVER
    """Of the stretch under way; NEVER while idle."""
    _length: float = 0.0
    """Of each of its steps."""
    _stretch: int = 0
    """Steps in it."""
    _cache: PrefixCache = field(init=False)
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._cache = PrefixCache(self.limits.kv_cache_tokens // self.limits.block_size)
        self._random = random.Random(self.seed)

    def blocks(self, num_prompt_tokens: int, num_output_tokens: int) -> int:
        """Blocks that a sequence takes; none may need more than the cache has."""
        return math.ceil((num_prompt_tokens + num_output_tokens) / self.limits.block_size)

    @property
    def num_running(self) -> int:
        """Sequences in the step under way."""
        return self._num_decoding + len(self._prefilling)

    def due(self) -> float:
        """When `advance` is to be called next; infinity while there is nothing to do."""
        if self._start < NEVER:
            return self._start + self._stretch * self._length
        return self._arriving[0].arrival if self._arriving else NEVER

    def submit(self, sequence: Sequence) -> None:
        """A sequence comes; calls must be in order of `arrival`."""
        self._arriving.append(sequence)
        self._interrupt(sequence.arrival)

    def abort(self, sequence: Sequence, time: float) -> None:
        """A sequence is no longer wanted: one that waits goes at once, one that runs at the end of the step."""
        if sequence.is_aborted or sequence.last_token < NEVER:
            return
        sequence.is_aborted = True
        if sequence.scheduled < NEVER:
            self._aborted.append(sequence)
            self._interrupt(time)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
        else:
            self._arriving.remove(sequence)

    def advance(self) -> list[Sequence]:
        """End the stretch under way at the time `due` says, begin the next; returns what has its last token now."""
        time = self.due()
        was_idle = self._start == NEVER
        finished = [] if was_idle else self._end_steps(time)
        self._notice(time, only_first=was_idle)
        self._begin_steps(time)
        return finished

    def _end_steps(self, time: float) -> list[Sequence]:
        self._num_steps += self._stretch
        for sequence in self._aborted:
            self._release(sequence)
            if sequence.first_token < NEVER:
                self._num_decoding -= 1
        self._aborted.clear()
        finished: list[Sequence] = []
        prefilling: list[Sequence] = []
        for sequence in self._prefilling:
            if sequence.is_aborted:
                continue
            if sequence.prefill_left:
                prefilling.append(sequence)
                continue
            sequence.first_token = time
            self._num_decoding += 1
            self._num_started += 1
            last_step = self._num_steps + sequence.num_output_tokens - 1
            heapq.heappush(self._decoding, (last_step, self._num_started, sequence))
        self._prefilling = prefilling
        while self._decoding and (self._decoding[0][0] <= self._num_steps or self._decoding[0][2].is_aborted):
            sequence = heapq.heappop(self._decoding)[2]
            if not sequence.is_aborted:
                sequence.last_token = time
                self._num_decoding -= 1
                self._release(sequence)
                finished.append(sequence)
        return finished

    def _notice(self, time: float, *, only_first: bool) -> None:
        """An idle engine starts with the first that it notices; those that come with it wait for that step's end."""
        while self._arriving and self._arriving[0].arrival <= time:
            sequence = self._arriving.popleft()
            sequence.queued = time
            self._waiting.append(sequence)
            if only_first:
                break

    def _begin_steps(self, time: float) -> None:
        budget = max(self.limits.max_num_batched_tokens - self._num_decoding, 0)
        num_tokens = 0
        for sequence in self._prefilling:
            num_tokens += self._prefill(sequence, budget - num_tokens)
        while self._waiting and num_tokens < budget and self._fits(self._waiting[0]):
            sequence = self._waiting.popleft()
            sequence.scheduled = time
            self._used_blocks += self.blocks(sequence.num_prompt_tokens, sequence.num_output_tokens)
            sequence.num_cached_tokens = self._cache.take(sequence.block_keys) * self.limits.block_size
            sequence.prefill_left = sequence.num_prompt_tokens - sequence.num_cached_tokens
            num_tokens += self._prefill(sequence, budget - num_tokens)
            self._prefilling.append(sequence)
        if not self.num_running:
            self._start = NEVER
            return
        cost = self.cost
        self._start = time
        self._length = cost.step_s + cost.running_s * self.num_running + cost.prefill_token_s * num_tokens
        if self.noise:
            self._length *= math.exp(self._random.gauss(-(self.noise**2) / 2, self.noise))
        self._stretch = 1 if self._prefilling else self._decoding[0][0] - self._num_steps
        if self._arriving:
            self._interrupt(self._arriving[0].arrival)

    def _fits(self, sequence: Sequence) -> bool:
        blocks = self.blocks(sequence.num_prompt_tokens, sequence.num_output_tokens)
        return (
            self.num_running < self.limits.max_num_seqs
            and (self._used_blocks + blocks) * self.limits.block_size <= self.limits.kv_cache_tokens
        )

    def _prefill(self, sequence: Sequence, budget: int) -> int:
        num_tokens = min(sequence.prefill_left, budget)
        sequence.prefill_left -= num_tokens
        return num_tokens

    def _release(self, sequence: Sequence) -> None:
        self._used_blocks -= self.blocks(sequence.num_prompt_tokens, sequence.num_output_tokens)

    def _interrupt(self, time: float) -> None:
        """Let the stretch end with the step that is under way at a time."""
        if self._start < NEVER and self._stretch > 1:
            steps = max(1, math.ceil((time - self._start) / self._length)) if self._length > 0 else 1
            self._stretch = min(self._stretch, steps)
