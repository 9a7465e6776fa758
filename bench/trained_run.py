"""One training run among several on one engine: trained once, gone on with where it was stopped, then a policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing

from lamas_local.checkpoint import load_checkpoint
from lamas_local.commands import differences
from lamas_local.config import Config, ConfigError
from lamas_local.controller import Controller
from lamas_local.policy import LearnedPolicy
from lamas_local.run_folder import RunFolder
from lamas_local.run_lock import RunLock
from lamas_local.session import Session, new_controller
from lamas_local.step_metrics import Metrics
from lamas_local.trace import ExecutionMode
from lamas_local.trainer import Trainer

FREE = ("run_dir", "evaluation.", "admission.")
"""Settings that change nothing in what a run learns."""


async def train_run(session: Session, config: Config, stop: asyncio.Event, on_step: Callable[[Metrics], None]) -> bool:
    """Train into `config.run_dir` on the session's engine; whether it is finished.

    A finished run is left as it is, one that was stopped goes on. `on_step` gets the metrics of new steps only.

    Raises:
        ConfigError: the folder holds a run with other settings, or another process writes to it.
    """
    check_settings(config)
    if is_finished(config):
        return True
    folder = RunFolder(config.run_dir)
    controller = own_controller(session, config)
    with closing(RunLock(folder.path)) as lock:
        lock.take()
        folder.create(config, resume=folder.holds_run, restart=False)
        trainer = Trainer(config, session.task, controller, session.embedder, session.executor, folder)
        if finished_steps(folder):
            trainer.resume()
        else:
            folder.rewind(0)
        await trainer.train(stop, on_step)
    return is_finished(config)


def is_finished(config: Config) -> bool:
    """Whether the run in `config.run_dir` has had all its steps."""
    return finished_steps(RunFolder(config.run_dir)) == config.trainer.num_steps


def finished_steps(folder: RunFolder) -> int:
    """Of the newest checkpoint; 0 where there is none."""
    return load_checkpoint(folder.checkpoints).step if any(folder.checkpoints.glob("step-*")) else 0


def check_settings(config: Config) -> None:
    """Raises ConfigError where `config.run_dir` holds a run that was trained with other settings."""
    folder = RunFolder(config.run_dir)
    for key, before, after in differences(folder.load_config(), config) if folder.holds_run else ():
        if not key.startswith(FREE):
            raise ConfigError(
                f"{folder.path}: trained with {key} {before!r}, which is {after!r} now; --restart trains all anew"
            )


def trained_policy(session: Session, config: Config, mode: ExecutionMode) -> LearnedPolicy:
    """The policy of a finished run.

    Raises:
        ConfigError: the run has no checkpoint.
    """
    state = load_checkpoint(RunFolder(config.run_dir).checkpoints)
    controller = own_controller(session, config)
    controller.load_state_dict(state.controller)
    return LearnedPolicy(controller, session.embedder, session.config.seed, mode, state.step)


def own_controller(session: Session, config: Config) -> Controller:
    """Untrained, by the run's own settings: a variant may have other ones than the session."""
    return new_controller(config, session.operators, session.embedder)
