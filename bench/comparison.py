"""What the ways to run architectures took, and each beside another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from bench.spread import Ratio, Spread, paired_ratio, spread
from bench.way import PAIRS, WAYS


@dataclass(frozen=True, slots=True)
class Run:
    """One measured rollout."""

    case: int
    repeat: int
    way: str
    turn: int
    """How many ways ran the case before it in this repeat."""
    seconds: float
    cp_tokens: float
    """Critical path: the tokens that have to be made one after another. Of aborted requests none are counted."""
    output_tokens: int
    prompt_tokens: int
    cached_tokens: int
    num_requests: int
    num_aborted_requests: int
    num_failed_operators: int
    answer: str | None
    """As the task reads it."""
    failure: str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """One way beside another over some of the cases."""

    ratio_of_medians: float
    """Of the median seconds; what the targets are about."""
    paired_ratio: Ratio
    """Per case, median over repeats of the ratio of seconds; the bootstrap draws cases."""
    ratios_by_case: Spread
    """The same ratios; the largest says how much longer the first way takes at worst."""
    cp_tokens_ratio: float
    """Median over cases of the ratio of critical paths in tokens: about what the paired ratio would be if a request
    took as long in a batch as alone."""
    num_other_answers: int
    """Rollouts of the first way whose answer is not that of their counterpart."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All ways over some of the cases; everything but `pairs` is by way."""

    num_cases: int
    seconds: dict[str, float]
    """Median over all measured rollouts."""
    seconds_by_repeat: dict[str, Spread]
    """Of each repeat's median: how well the measurement repeats."""
    seconds_by_case: dict[str, Spread]
    """Of each case's median over repeats: how much the architectures differ."""
    output_tokens: dict[str, float]
    """Mean per rollout."""
    aborted_requests: dict[str, float]
    """Mean per rollout."""
    cached_share: dict[str, float]
    """Share of prompt tokens that came from the prefix cache."""
    pairs: dict[str, Pair]
    """By `first/second`."""


def compare(runs: Sequence[Run]) -> Comparison:
    """All ways over `runs`, which hold each case and repeat once in each way."""
    seconds = {(run.way, run.case, run.repeat): run.seconds for run in runs}
    cases, repeats = sorted({run.case for run in runs}), sorted({run.repeat for run in runs})
    by_way = {way.name: [run for run in runs if run.way == way.name] for way in WAYS}
    return Comparison(
        num_cases=len(cases),
        seconds={way: median(run.seconds for run in chosen) for way, chosen in by_way.items()},
        seconds_by_repeat={
            way: spread([median(seconds[way, case, repeat] for case in cases) for repeat in repeats]) for way in by_way
        },
        seconds_by_case={
            way: spread([median(seconds[way, case, repeat] for repeat in repeats) for case in cases]) for way in by_way
        },
        output_tokens={way: fmean(run.output_tokens for run in chosen) for way, chosen in by_way.items()},
        aborted_requests={way: fmean(run.num_aborted_requests for run in chosen) for way, chosen in by_way.items()},
        cached_share={
            way: sum(run.cached_tokens for run in chosen) / max(sum(run.prompt_tokens for run in chosen), 1)
            for way, chosen in by_way.items()
        },
        pairs={f"{one}/{other}": compare_pair(by_way[one], by_way[other]) for one, other in PAIRS},
    )


def compare_pair(ones: Sequence[Run], others: Sequence[Run]) -> Pair:
    """Two ways over the same cases and repeats."""
    counterparts = {(run.case, run.repeat): run for run in others}
    pairs = [(run, counterparts[run.case, run.repeat]) for run in ones]
    cases = sorted({run.case for run in ones})
    seconds = [median(one.seconds / two.seconds for one, two in pairs if one.case == case) for case in cases]
    cp_tokens = [
        median(one.cp_tokens / max(two.cp_tokens, 1) for one, two in pairs if one.case == case) for case in cases
    ]
    return Pair(
        ratio_of_medians=median(run.seconds for run in ones) / median(run.seconds for run in others),
        paired_ratio=paired_ratio(seconds),
        ratios_by_case=spread(seconds),
        cp_tokens_ratio=median(cp_tokens),
        num_other_answers=sum(one.answer != two.answer for one, two in pairs),
    )
