"""One seed of an ablation: its controllers are trained, then all policies are evaluated on the same queries."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from bench.outcome import Outcome, append_outcome, describe_outcome, take_up_outcomes
from bench.trained_run import check_settings, finished_steps, is_finished, train_run, trained_policy
from bench.variant import Candidate
from bench.workers import stop_if_asked
from lamas_local.config import Config
from lamas_local.engine_config import FakeEngineConfig, SimulatedEngineConfig
from lamas_local.evaluation import evaluate
from lamas_local.policy import FIXED, LearnedPolicy, Policy, parse_fixed
from lamas_local.run_folder import RunFolder
from lamas_local.session import Session, run
from lamas_local.step_metrics import Metrics
from lamas_local.trace import RolloutTrace

ResultT = TypeVar("ResultT")
INITIAL = "initial"


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
            stop_if_asked(stop)

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
    policies |= {name: load_untrained(name, session) for name in untrained_policies(config)}
    examples = [session.task.example("test", index) for index in range(config.evaluation.num_queries)]
    queries = {example.query.id for example in examples}
    session.embedder.embed([example.query.problem for example in examples])  # at once is several times quicker
    outcomes = [one for one in take_up_outcomes(seed.outcomes) if one.policy in policies and one.query in queries]
    done = {(one.policy, one.query) for one in outcomes}
    with _bar(seed, len(policies) * len(queries), len(done), "query") as bar:
        bar.set_description(f"seed {config.seed}: evaluate")

        def on_rollout(trace: RolloutTrace) -> None:
            outcomes.append(describe_outcome(trace, config))
            append_outcome(seed.outcomes, outcomes[-1])
            bar.update()
            stop_if_asked(stop)

        finished = await evaluate(policies, session.task, session.executor, config, stop, on_rollout, done)
    return outcomes if finished else None


def untrained_policies(config: Config) -> list[str]:
    """Of those that the configuration evaluates, the ones that need no training: whoever learns stands beside them."""
    return [name for name in config.evaluation.policies if name == INITIAL or name.startswith(FIXED)]


def load_untrained(name: str, session: Session) -> Policy:
    """A fixed policy, or the untrained controller in the configuration's mode."""
    if name != INITIAL:
        return parse_fixed(name, session.executor.operators)
    config = session.config
    return LearnedPolicy(session.new_controller(), session.embedder, config.seed, config.execution.mode, 0)


def is_repeatable(config: Config) -> bool:
    """Whether the engine answers a command run again to the bit, in the same time."""
    return isinstance(config.engine, FakeEngineConfig | SimulatedEngineConfig)


def num_workers(asked: int, config: Config) -> int:
    """Seeds at once: on a real engine they would slow each other down."""
    return asked if is_repeatable(config) else 1


def open_seeds(
    config: Config,
    folder: Path,
    candidates: Sequence[Candidate],
    num_seeds: int,
    num_queries: int,
    *,
    restart: bool,
) -> list[SeedRun]:
    """One run a seed, from the configuration's seed on; `restart` removes what was there.

    Raises:
        ConfigError: a run that is there was trained with other settings.
    """
    evaluated = tuple(untrained_policies(config)) or (INITIAL,)  # the others are the candidates
    evaluation = config.evaluation.model_copy(update={"num_queries": num_queries, "policies": evaluated})
    seeds = [
        SeedRun(
            index,
            config.model_copy(update={"seed": config.seed + index, "evaluation": evaluation}),
            folder / f"seed-{config.seed + index}",
            tuple(candidates),
        )
        for index in range(num_seeds)
    ]
    for seed in seeds:
        if restart and seed.folder.exists():
            shutil.rmtree(seed.folder)
        for training in seed.trainings:
            check_settings(training)
    return seeds


def _run(seed: SeedRun, work: Callable[[Session, asyncio.Event], Awaitable[ResultT]]) -> ResultT:
    """With a session of the seed's own, open while `work` runs."""

    async def main() -> ResultT:
        session = await Session.open(seed.config)
        try:
            stop = asyncio.Event()
            stop_if_asked(stop)
            return await work(session, stop)
        finally:
            await session.close()

    return run(seed.config, main())


def _bar(seed: SeedRun, total: int, initial: int, unit: str) -> tqdm[Any]:
    return tqdm(total=total, initial=initial, unit=unit, position=seed.index, mininterval=1.0)
