"""What the command line does: train, evaluate, report."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lamas_local.baselines import POLICIES, baseline_config, baseline_runs
from lamas_local.calibration import check_signal, load_cost_model
from lamas_local.checkpoint import load_checkpoint
from lamas_local.config import Config, ConfigError, ObjectiveConfig
from lamas_local.constraint import known_target
from lamas_local.evaluation import evaluate, summarise
from lamas_local.policy import FIXED, LearnedPolicy, Policy, parse_fixed
from lamas_local.report import write_report
from lamas_local.run_folder import RunFolder, write_atomically
from lamas_local.run_lock import RunLock
from lamas_local.session import Session, run
from lamas_local.step_metrics import Metrics
from lamas_local.summary_table import print_summary
from lamas_local.trace import ExecutionMode, RolloutTrace
from lamas_local.trainer import BatchFailedError, Trainer
from lamas_local.verdict import judge
from lamas_local.virtual_time import VirtualTimeError

RUN_FAILED = 1
INTERRUPTED = 130


def run_train(config: Config, *, resume: bool, restart: bool) -> int:
    """Train, evaluate, report; returns the exit status."""
    check_signal(config)
    folder = RunFolder(config.run_dir)
    with closing(RunLock(folder.path)) as lock:
        if folder.holds_run:  # one that is not there yet is made, and locked, when its settings have proved good
            lock.take()
        folder.check(resume=resume, restart=restart)
        if resume:
            check_same_run(folder.load_config(), config)
        goes_on = folder if resume else None
        return _run(config, lambda stop: _train(config, folder, lock, stop, resume=resume, restart=restart), goes_on)


def run_evaluate(run: Path, config: Config) -> int:
    """Evaluate a trained run again, with the evaluation settings of `config`; returns the exit status."""
    folder = RunFolder(run)
    with closing(RunLock(folder.path)) as lock:
        lock.take()
        load_checkpoint(folder.checkpoints)
        check_same_policy(folder, config)
        return _run(config, lambda stop: _evaluate_only(config, folder, stop), folder)


async def _train(
    config: Config, folder: RunFolder, lock: RunLock, stop: asyncio.Event, *, resume: bool, restart: bool
) -> int:
    session = await Session.open(config)
    try:
        lock.take()
        folder.create(config, resume=resume, restart=restart)  # only now, so that a bad setting replaces no run
        for name in baseline_runs(config.evaluation.policies):
            if not stop.is_set():
                await _train_baseline(session, name, folder.baseline(name), stop, resume)
        if not stop.is_set():
            await _train_run(session, config, folder, stop, resume)
        return INTERRUPTED if stop.is_set() else await _evaluate(session, folder, stop)
    finally:
        await session.close()


async def _train_baseline(session: Session, name: str, folder: RunFolder, stop: asyncio.Event, resume: bool) -> None:
    """The same run with a published objective."""
    config = baseline_config(session.config, name, folder.path)
    with closing(RunLock(folder.path)) as lock:
        lock.take()
        resume = resume and folder.holds_run
        folder.create(config, resume=resume, restart=False)
        await _train_run(session, config, folder, stop, resume)


async def _train_run(session: Session, config: Config, folder: RunFolder, stop: asyncio.Event, resume: bool) -> None:
    from torch.utils.tensorboard import SummaryWriter

    trainer = Trainer(config, session.task, session.new_controller(), session.embedder, session.executor, folder)
    if resume and any(folder.checkpoints.glob("step-*")):
        trainer.resume()
    elif resume:
        folder.rewind(0)
    with (
        SummaryWriter(str(folder.path / "tensorboard"), purge_step=trainer.step) as board,
        tqdm(
            total=config.trainer.num_steps, initial=trainer.step, desc=f"train {folder.path.name}", unit="step"
        ) as bar,
    ):

        def on_step(metrics: Metrics) -> None:
            for name, value in metrics.items():
                if isinstance(value, (int, float)):
                    board.add_scalar(name, value, metrics["step"])
            seconds = metrics["wall_latency_s"]
            bar.set_postfix(
                score=f"{metrics['score']:.2f}",
                seconds="–" if seconds is None else f"{seconds:.1f}",
                tokens=f"{metrics['cp_tokens']:.0f}",
                refresh=False,
            )
            bar.update()

        await trainer.train(stop, on_step)


async def _evaluate_only(config: Config, folder: RunFolder, stop: asyncio.Event) -> int:
    session = await Session.open(config)
    try:
        return await _evaluate(session, folder, stop, anew=True)
    finally:
        await session.close()


async def _evaluate(session: Session, folder: RunFolder, stop: asyncio.Event, *, anew: bool = False) -> int:
    """Evaluate, summarise, report; an evaluation that was interrupted goes on where it was unless it is made `anew`."""
    config = session.config
    names = config.evaluation.policies
    model = load_cost_model(folder.calibration)
    policies = {name: load_policy(name, session, folder) for name in names}
    steps = {name: policy.step for name, policy in policies.items()}
    # All at once is twice as quick as one at a time, and the policies find them there.
    examples = [session.task.example("test", index) for index in range(config.evaluation.num_queries)]
    session.embedder.embed([example.query.problem for example in examples])
    kept = folder.keep_traces(
        lambda trace: trace.policy == "train" or (not anew and steps.get(trace.policy) == trace.step)
    )
    done = {(trace.policy, trace.query_id) for trace in kept if trace.policy != "train"}
    with tqdm(
        total=len(names) * config.evaluation.num_queries, initial=len(done), desc="evaluate", unit="query"
    ) as bar:

        def on_rollout(trace: RolloutTrace) -> None:
            folder.append_traces([trace])
            bar.update()

        finished = await evaluate(policies, session.task, session.executor, config, stop, on_rollout, done)
    if not finished:
        return INTERRUPTED
    traces = folder.keep_traces(lambda trace: True)
    summary = summarise(traces, names, config, model)
    if (target := constraint_target(config.objective, folder)) is not None:
        summary["constraint"] = judge([trace for trace in traces if trace.policy == "trained"], config, target, model)
    write_atomically(folder.summary, json.dumps(summary, indent=2).encode())
    print_summary(summary)
    print(f"report: {write_report(folder.path)}")
    return 0


def constraint_target(objective: ObjectiveConfig, folder: RunFolder) -> float | None:
    """Seconds or score that the run was asked for; None without a constraint."""
    if objective.kind == "penalty":
        return None
    target = known_target(objective)
    dual = load_checkpoint(folder.checkpoints).dual
    return dual["target"] if target is None and dual is not None else target


def load_policy(name: str, session: Session, folder: RunFolder) -> Policy:
    """A policy by its name; the learned ones from the run's checkpoints."""
    if name.startswith(FIXED):
        return parse_fixed(name, session.executor.operators)
    controller = session.new_controller()
    step = 0
    mode: ExecutionMode = "layered"
    if name in POLICIES:
        run, mode = POLICIES[name]
        folder = folder.baseline(run)
    elif name == "trained":
        mode = session.config.execution.mode
    elif name == "initial-sequential":
        mode = "sequential"
    if not name.startswith("initial"):
        state = load_checkpoint(folder.checkpoints)
        controller.load_state_dict(state.controller)
        step = state.step
    return LearnedPolicy(controller, session.embedder, session.config.seed, mode, step)


def check_same_policy(folder: RunFolder, config: Config) -> None:
    """A trained controller belongs to its operators.

    Raises:
        ConfigError: `config` has others, or another controller.
    """
    for key, before, after in differences(folder.load_config(), config):
        if key.startswith(("operators", "controller.")):
            raise ConfigError(f"--run: {key} is {after!r}, but {folder.path} was trained with {before!r}")


def check_same_run(stored: Config, given: Config) -> None:
    """A resumed run goes on as it began: only where it lies, how long it trains, what it evaluates and admission may
    change.

    Raises:
        ConfigError: naming the first setting that differs.
    """
    free = ("run_dir", "trainer.num_steps", "trainer.checkpoint_every", "trainer.keep_checkpoints")
    for key, before, after in differences(stored, given):
        if not key.startswith((*free, "evaluation.", "admission.")):
            raise ConfigError(f"--resume: {key} is {after!r}, but {given.run_dir} was started with {before!r}")


def differences(stored: Config, given: Config) -> list[tuple[str, Any, Any]]:
    """(dotted key, stored value, given value) of every setting that differs."""
    before, after = _flat(stored.model_dump(mode="json")), _flat(given.model_dump(mode="json"))
    keys = sorted(before.keys() | after.keys())
    return [(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _run(config: Config, command: Callable[[asyncio.Event], Awaitable[int]], goes_on: RunFolder | None) -> int:
    """Run a command in an event loop; the first Ctrl-C asks it to finish its step, the second ends it.

    `goes_on`: a run that it adds to; virtual time then goes on there, so that the stamps of a run are of one clock.
    """
    start = goes_on.last_stamp() if goes_on is not None and config.engine.kind == "simulated" else 0.0

    async def main() -> int:
        stop = asyncio.Event()
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def interrupt() -> None:
            if stop.is_set() and task is not None:
                task.cancel()
            else:
                print("\nfinishing what runs, then saving; Ctrl-C again ends at once", file=sys.stderr)
                stop.set()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        return await command(stop)

    try:
        return run(config, main(), start)
    except asyncio.CancelledError:
        return INTERRUPTED
    except (BatchFailedError, VirtualTimeError) as error:
        print(f"lamas-local: {error}; what was saved before is intact", file=sys.stderr)
        return RUN_FAILED


def run_report(run: Path) -> int:
    """Write `report.html` again from the run's files."""
    print(f"report: {write_report(run)}")
    return 0
