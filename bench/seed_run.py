"""One seed of an ablation: its controllers are trained, then all policies are evaluated on the same queries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from bench.interrupt import CONTEXT, Flag, leave_to_parent
from bench.outcome import Outcome, append_outcome, describe_outcome, take_up_outcomes
from bench.trained_run import finished_steps, is_finished, train_run, trained_policy
from bench.variant import Candidate
from lamas_local.config import Config, VllmEngineConfig
from lamas_local.evaluation import evaluate
from lamas_local.policy import FIXED, Policy, parse_fixed
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session
from lamas_local.trace import RolloutTrace
from lamas_local.trainer import Metrics

ResultT = TypeVar("ResultT")
_interrupt: Flag
"""Of this process."""


@dataclass(frozen=True, slots=True)
class SeedRun:
    """What one seed is to do, and where."""

    index: int
    config: Config
    """Its seed is this run's."""
    folder: Path
    candidates: Sequence[Candidate] = field(default_factory=tuple)
    """To be trained, or the chosen ones to be evaluated."""

    def run_config(self, candidate: Candidate) -> Config:
        """What the candidate's controller is trained with."""
        return candidate.config(self.config, self.folder / candidate.run)

    @property
    def trainings(self) -> list[Config]:
        """Each controller's run, once."""
        return list({candidate.run: self.run_config(candidate) for candidate in self.candidates}.values())

    @property
    def outcomes(self) -> Path:
        """A line an evaluated rollout."""
        return self.folder / "outcomes.jsonl"


def train_seed(seed: SeedRun) -> bool:
    """Train what is not finished; whether all of it is now."""
    if all(is_finished(one) for one in seed.trainings):
        return True
    return _run(seed, lambda session, stop: _train(seed, session, stop))


def evaluate_seed(seed: SeedRun) -> list[Outcome] | None:
    """Every chosen and every fixed policy on every test query; None where it was interrupted."""
    return _run(seed, lambda session, stop: _evaluate(seed, session, stop))


async def _train(seed: SeedRun, session: Session, stop: asyncio.Event) -> bool:
    trainings = seed.trainings
    done = [finished_steps(RunFolder(one.run_dir)) for one in trainings]
    with _bar(seed, sum(one.trainer.num_steps for one in trainings), sum(done), "step") as bar:

        def on_step(metrics: Metrics) -> None:
            bar.update()
            bar.set_postfix(score=f"{metrics['score']:.2f}", seconds=f"{metrics['wall_latency_s']:.1f}", refresh=False)
            _stop_if_asked(stop)

        for config in trainings:
            bar.set_description(f"seed {seed.config.seed}: train {config.run_dir.name}")
            if not await train_run(session, config, stop, on_step):
                return False
            if is_repeatable(config):  # thousands of rollouts, which the same command makes again to the bit
                RunFolder(config.run_dir).traces.unlink(missing_ok=True)
    return True


async def _evaluate(seed: SeedRun, session: Session, stop: asyncio.Event) -> list[Outcome] | None:
    config = session.config
    policies: dict[str, Policy] = {
        one.name: trained_policy(session, seed.run_config(one), one.variant.mode) for one in seed.candidates
    }
    policies |= {name: parse_fixed(name, session.executor.operators) for name in fixed_policies(config)}
    queries = {session.task.example("test", index).query.id for index in range(config.evaluation.num_queries)}
    outcomes = [one for one in take_up_outcomes(seed.outcomes) if one.policy in policies and one.query in queries]
    done = {(one.policy, one.query) for one in outcomes}
    with _bar(seed, len(policies) * len(queries), len(done), "query") as bar:
        bar.set_description(f"seed {config.seed}: evaluate")

        def on_rollout(trace: RolloutTrace) -> None:
            outcomes.append(describe_outcome(trace, config))
            append_outcome(seed.outcomes, outcomes[-1])
            bar.update()
            _stop_if_asked(stop)

        finished = await evaluate(policies, session.task, session.executor, config, stop, on_rollout, done)
    return outcomes if finished else None


def fixed_policies(config: Config) -> list[str]:
    """The configuration's own ones: whoever learns has to stand beside them."""
    return [name for name in config.evaluation.policies if name.startswith(FIXED)]


def is_repeatable(config: Config) -> bool:
    """Whether the engine answers a command run again to the bit, in the same time."""
    return not isinstance(config.engine, VllmEngineConfig)


def run_all(work: Callable[[SeedRun], ResultT], seeds: Sequence[SeedRun], num_jobs: int, flag: Flag) -> list[ResultT]:
    """`work` on every seed, in processes of their own where there are several to be used."""
    if num_jobs == 1 or len(seeds) == 1:
        _take_flag(flag)
        return [work(seed) for seed in seeds]
    with ProcessPoolExecutor(
        min(num_jobs, len(seeds)), mp_context=CONTEXT, initializer=_start_worker, initargs=(flag,)
    ) as pool:
        return list(pool.map(work, seeds))


def _start_worker(flag: Flag) -> None:
    leave_to_parent()
    _take_flag(flag)


def _take_flag(flag: Flag) -> None:
    global _interrupt
    _interrupt = flag


def _stop_if_asked(stop: asyncio.Event) -> None:
    if _interrupt.value:
        stop.set()


def _run(seed: SeedRun, work: Callable[[Session, asyncio.Event], Awaitable[ResultT]]) -> ResultT:
    """With a session of the seed's own, open while `work` runs."""

    async def main() -> ResultT:
        session = await Session.open(seed.config)
        try:
            stop = asyncio.Event()
            _stop_if_asked(stop)
            return await work(session, stop)
        finally:
            await session.close()

    return asyncio.run(main())


def _bar(seed: SeedRun, total: int, initial: int, unit: str) -> tqdm[Any]:
    return tqdm(total=total, initial=initial, unit=unit, position=seed.index, mininterval=1.0)
