"""A profile from a real run's folder: the engine's cost, and how right, how long and how alike its answers were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import optimize

from lamas_local.calibration import Calibration, load_cost_model
from lamas_local.config import Config, ConfigError
from lamas_local.cost_model import CostModel
from lamas_local.engine_config import VllmEngineConfig, answering
from lamas_local.run_folder import RunFolder
from lamas_local.simulation.observation import Observation, observations
from lamas_local.simulation.profile import (
    CostProfile,
    LimitsProfile,
    OperatorSkill,
    Profile,
    SkillProfile,
    TokensProfile,
)
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.simulation.skill import NORMAL, at_difficulty
from lamas_local.tasks import load_task
from lamas_local.trace import RolloutTrace, read_traces

NUM_LENGTHS = 100
"""Most lengths kept of an operator: quantiles of what was seen."""
NUM_EASES = 64
"""Points at which the integral over a query's ease is taken."""
CPU_KV_TOKENS_PER_GIB = 46_500
"""SmolLM2-135M in float32."""
CPU_MAX_NUM_SEQS, CPU_MAX_NUM_BATCHED_TOKENS = 128, 2048
"""vLLM's own on a CPU; what a run's `engine.args` says comes first."""
BLOCK_SIZE = 16
"""vLLM's own, where no cached prompt tells."""


async def fit_profile(folder: Path) -> Profile:
    """The profile of a run.

    Args:
        folder: of a run on a real engine, with `config.yaml`, `traces.jsonl` and, after training, `calibration.json`.

    Raises:
        ConfigError: it is no run folder, or as `fit_to`.
    """
    run = RunFolder(folder)
    config = run.load_config()
    if not run.traces.is_file():
        raise ConfigError(f"engine.run: {folder} has no traces.jsonl to fit to")
    return await fit_to(read_traces(run.traces), config, load_cost_model(run.calibration), folder.name)


async def fit_to(
    traces: Sequence[RolloutTrace], config: Config, model: CostModel | None = None, name: str = "given"
) -> Profile:
    """The profile of rollouts that ran on one engine.

    Args:
        traces: what ran.
        config: with what settings.
        model: of the engine's cost; fitted to the training rollouts, or where there are none to all, when absent.
        name: of the run, for the profile's source.

    Raises:
        ConfigError: there are too few rollouts, their queries are not the task's, or their operators run code.
    """
    task = RememberingTask(load_task(config.task, config.seed))
    try:
        seen = await observations(traces, task, config)
    finally:
        await task.close()
    if all(one.choice is not None for one in seen):
        raise ConfigError(f"engine.run: the run {name} has no request that says how right its model is")
    model = model or Calibration.of(traces).model or _fitted_to_all(traces)
    if model is None:
        raise ConfigError(f"engine.run: the run {name} has too few requests with times to fit the engine's cost to")
    return Profile(
        source=f"fitted to {len(seen)} requests of the run {name}",
        cost=cost_profile(model),
        limits=fit_limits(config, seen),
        tokens=fit_tokens(seen),
        skill=fit_skill(seen),
    )


def cost_profile(model: CostModel) -> CostProfile:
    """A cost model's parameters. Its `wait_steps` is no parameter of a simulation, which knows when steps end."""
    return CostProfile(
        step_s=model.step_s,
        running_s=model.running_s,
        prefill_token_s=model.prefill_token_s,
        wait_s=model.wait_s,
        return_s=model.return_s,
    )


def _fitted_to_all(traces: Sequence[RolloutTrace]) -> CostModel | None:
    calibration = Calibration()
    calibration.add(traces)
    return calibration.model


def fit_limits(config: Config, seen: Sequence[Observation]) -> LimitsProfile:
    """What the run's configuration says of its engine; the cache's block by what was found in it."""
    engine = answering(config.engine)
    args = engine.args if isinstance(engine, VllmEngineConfig) else {}
    kv_cache_gib = engine.kv_cache_gib if isinstance(engine, VllmEngineConfig) else 2.0
    max_num_seqs = int(args.get("max_num_seqs", CPU_MAX_NUM_SEQS))
    tokens = max(CPU_MAX_NUM_BATCHED_TOKENS, engine.max_model_len or 0, max_num_seqs)
    cached = math.gcd(*(one.span.num_cached_tokens for one in seen))
    return LimitsProfile(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=int(args.get("max_num_batched_tokens", tokens)),
        kv_cache_tokens=int(CPU_KV_TOKENS_PER_GIB * kv_cache_gib),
        block_size=cached or BLOCK_SIZE,
    )


def fit_tokens(seen: Sequence[Observation]) -> TokensProfile:
    """Prompt tokens by characters and messages, least squares, neither below 0."""
    columns = np.array([[one.num_prompt_characters, one.num_messages] for one in seen], dtype=float)
    tokens = np.array([one.span.num_prompt_tokens for one in seen], dtype=float)
    per_character, template = optimize.nnls(columns, tokens)[0]
    return TokensProfile(
        characters_per_token=1 / per_character if per_character > 0 else 4.0, template_tokens=round(template)
    )


def fit_skill(seen: Sequence[Observation]) -> SkillProfile:
    """Frequencies by operator; the correlation and the number of wrong answers by what queries have in common."""
    names = sorted({one.operator for one in seen})
    skills = {name: fit_operator([one for one in seen if one.operator == name]) for name in names}
    other = fit_operator(seen)
    free = [one for one in seen if one.choice is None and one.read_right is None]
    correlation = fit_correlation(free, skills)
    return SkillProfile(
        correlation=round(correlation, 3),
        num_distractors=fit_num_distractors(free),
        operators=skills,
        other=other,
    )


def fit_operator(seen: Sequence[Observation]) -> OperatorSkill:
    """Frequencies, with half a success and half a failure added so that nothing is certain."""
    free = [one for one in seen if one.choice is None]
    levels = sorted({one.difficulty for one in free})
    reading = {is_right: [one for one in free if one.read_right is is_right] for is_right in (True, False)}
    wrong = [one for one in reading[False] if not one.is_right and one.answer is not None]
    is_reading = bool(reading[True] or reading[False])
    return OperatorSkill(
        accuracy={level: _share(one.is_right for one in free if one.difficulty == level) for level in levels}
        or {1: 0.5},
        keeps=_share(one.is_right for one in reading[True]) if is_reading else None,
        fixes=_share(one.is_right for one in reading[False]) if is_reading else None,
        repeats=_share(one.answer == one.read_answer for one in wrong),
        consistent=fit_consistent([one for one in seen if one.choice is not None]),
        output_tokens=quantiles([one.span.num_output_tokens for one in seen]),
    )


def fit_consistent(choices: Sequence[Observation]) -> float:
    """The share c for which choices name the commonest answer as often as seen: `c + (1 - c) * (its candidates)`."""
    excess = room = 0.0
    for one in choices:
        counts = Counter(answer for answer in one.candidates if answer is not None)
        if len(counts) < 2:
            continue  # whatever is named, it is the commonest
        best = max(counts.values())
        share = sum(counts[answer] == best for answer in one.candidates if answer is not None) / len(one.candidates)
        named = one.choice is not None and counts.get(one.choice, 0) == best
        excess += named - share
        room += 1 - share
    return round(min(max(excess / room, 0.0), 1.0), 3) if room else 1.0


def fit_correlation(free: Sequence[Observation], skills: dict[str, OperatorSkill]) -> float:
    """The correlation at which pairs of requests on one query are right together as often as seen; from 0 to 0.99."""
    groups: dict[str, list[Observation]] = {}
    for one in free:
        groups.setdefault(one.query_id, []).append(one)
    seen = sum(math.comb(sum(one.is_right for one in group), 2) for group in groups.values())
    bounds = [
        np.array([NORMAL.inv_cdf(at_difficulty(skills[one.operator].accuracy, one.difficulty)) for one in group])
        for group in groups.values()
        if len(group) > 1
    ]
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_EASES)
    weights = weights / weights.sum()

    def surplus(correlation: float) -> float:
        """Pairs right together as the model expects them, less those seen."""
        expected = 0.0
        for bound in bounds:
            chances = _normal_cdf(
                (bound[:, None] - math.sqrt(correlation) * nodes[None, :]) / math.sqrt(1 - correlation)
            )
            expected += float(weights @ ((chances.sum(axis=0) ** 2 - (chances**2).sum(axis=0)) / 2))
        return expected - seen

    if not bounds or surplus(0.0) >= 0:
        return 0.0
    return 0.99 if surplus(0.99) <= 0 else float(optimize.brentq(surplus, 0.0, 0.99))


def fit_num_distractors(free: Sequence[Observation]) -> int:
    """One in how many pairs of wrong answers to a query agree; 3 where there are no pairs."""
    groups: dict[str, list[str]] = {}
    for one in free:
        if not one.is_right and one.answer is not None:
            groups.setdefault(one.query_id, []).append(one.answer)
    pairs = [first == second for group in groups.values() for first, second in combinations(group, 2)]
    same = sum(pairs)
    return 3 if not pairs else min(max(round(len(pairs) / max(same, 1)), 1), 10)


def quantiles(values: Sequence[int]) -> tuple[int, ...]:
    """At most `NUM_LENGTHS` of some values, in order, evenly from the smallest to the largest."""
    ordered = sorted(values)
    if len(ordered) <= NUM_LENGTHS:
        return tuple(ordered)
    return tuple(ordered[int((i + 0.5) * len(ordered) / NUM_LENGTHS)] for i in range(NUM_LENGTHS))


def _share(successes: Iterable[bool]) -> float:
    found = list(successes)
    return round((sum(found) + 0.5) / (len(found) + 1), 4)


def _normal_cdf(values: np.ndarray) -> np.ndarray:
    from scipy import special

    result: np.ndarray = special.ndtr(values)
    return result
