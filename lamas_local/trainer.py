"""The training loop: draw architectures, run them, credit what they cost, update the controller."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from lamas_local.calibration import Calibration, dump_calibration
from lamas_local.checkpoint import TrainingState, load_checkpoint
from lamas_local.config import Config, TrainerConfig
from lamas_local.controller import Controller, Draw
from lamas_local.credit import UtilityEma, Weights, policy_loss, subtract_leave_one_out, utilities
from lamas_local.dual_ascent import DualAscent
from lamas_local.embedding import Embedder
from lamas_local.executor import Executor, Plan
from lamas_local.latency import Latency, cost_usd, measure, signal_path
from lamas_local.reuse import RolloutRuns, RunPool
from lamas_local.run_folder import RunFolder
from lamas_local.sampling import entropy
from lamas_local.score_floor import measure_score_floor
from lamas_local.seeds import derive_seed, occasion
from lamas_local.step_metrics import (
    Metrics,
    mean_probabilities,
    summarise_batch,
    summarise_calibration,
    summarise_engine_use,
)
from lamas_local.tasks.base import Task
from lamas_local.trace import RolloutTrace


class BatchFailedError(RuntimeError):
    """More than half of a batch's rollouts failed; the message gives the commonest reason."""


class Trainer:
    """Trains one controller; `step` counts its finished updates."""

    def __init__(
        self,
        config: Config,
        task: Task,
        controller: Controller,
        embedder: Embedder,
        executor: Executor,
        folder: RunFolder,
    ) -> None:
        self.config = config
        self.task = task
        self.controller = controller
        self.embedder = embedder
        self.executor = executor
        self.folder = folder
        self.step = 0
        self.ema = UtilityEma(config.trainer.ema_momentum)
        self.adam = make_adam(controller, config.trainer)
        self.calibration = Calibration()
        self.dual = None if config.objective.kind == "penalty" else DualAscent(config.objective)
        self.pool = None if config.trainer.reuse is None else RunPool(config.trainer.reuse)

    async def train(self, stop: asyncio.Event, on_step: Callable[[Metrics], None] = lambda metrics: None) -> None:
        """Step until `num_steps` or until `stop` is set; the step under way is finished and saved.

        Raises:
            BatchFailedError: more than half of a batch failed.
            serving.types.EngineDeadError: the engine stopped working.
        """
        trainer = self.config.trainer
        while self.step < trainer.num_steps and not stop.is_set():
            metrics, _ = await self.train_step()
            self.folder.append_metrics(metrics)
            on_step(metrics)
            if self.step % trainer.checkpoint_every == 0 or self.step == trainer.num_steps or stop.is_set():
                self.save()

    async def train_step(self) -> tuple[Metrics, list[RolloutTrace]]:
        """One batch and one update (LAMaS sec. 3)."""
        started = time.monotonic()  # real seconds, in a simulation too: `step_s` is what a step costs this machine
        if self.dual is not None and self.dual.target is None:
            self.dual.target = await measure_score_floor(
                self.config, self.controller, self.embedder, self.task, self.executor
            )
        plans, draws = self.draw_batch()
        traces = await asyncio.gather(*(self.executor.run(plan) for plan in plans))
        self.folder.append_traces(traces)  # before they are judged, so that a failed batch can be looked into
        check_failures(traces)
        known = self.calibration.model  # fitted to earlier steps: to it, these rollouts are new
        # The first step's own: seconds measured under its full load would set the scale of all later ones.
        model = known or Calibration.of(traces).model
        latencies = [measure(trace, self.config.latency, model) for trace in traces]
        weights, constraint = self.weigh(traces, latencies)
        credited = self.credit(traces, latencies, weights)
        update = self.update(draws, credited)
        self.step += 1
        latency_weight = weights.latency / weights.score
        metrics = {"step": self.step, **summarise_batch(traces, latencies, self.config, latency_weight)}
        metrics |= update | constraint
        metrics |= summarise_engine_use(traces) | summarise_calibration(traces, known)
        self.calibration.add(traces)
        metrics["operator_probabilities"] = mean_probabilities(draws, self.controller)
        return metrics | {"step_s": time.monotonic() - started}, traces

    def draw_batch(self) -> tuple[list[Plan], list[Draw]]:
        """The next queries of the training split, with `rollouts_per_query` architectures each.

        A finite split starts over at its end; each pass draws and samples with seeds of its own.
        """
        trainer = self.config.trainer
        size = self.task.num_examples("train")
        plans: list[Plan] = []
        draws: list[Draw] = []
        positions = training_positions(trainer, self.step)
        examples = [self.task.example("train", position) for position in positions]
        embeddings = self.embedder.embed([example.query.problem for example in examples])
        for position, example, embedding in zip(positions, examples, embeddings, strict=True):
            epoch = position // size if size else 0
            for rollout in range(trainer.rollouts_per_query):
                place = (self.step, occasion(example.query.id, epoch), rollout)
                seed = derive_seed(self.config.seed, "draw", *place)
                draw = self.controller.draw(embedding, torch.Generator().manual_seed(seed))
                draws.append(draw)
                mode = self.config.execution.mode
                plan = Plan(example, draw.architecture, mode, "train", self.step + 1, rollout, epoch)
                if self.pool is not None:
                    runs = RolloutRuns(self.pool, derive_seed(self.config.seed, "deal", *place), epoch)
                    plan = replace(plan, runs=runs)
                plans.append(plan)
        return plans, draws

    def weigh(self, traces: Sequence[RolloutTrace], latencies: Sequence[Latency]) -> tuple[Weights, Metrics]:
        """What this batch's score, cost and seconds count; under a constraint, after what the batch says of it.

        As in an evaluation, seconds are those of the rollouts that ran, and a failed rollout scores 0.
        """
        if self.dual is None:
            return Weights.of(self.config.objective), {}
        ran = [latency for trace, latency in zip(traces, latencies, strict=True) if trace.failure is None]
        lengths_s = [signal_path(latency, self.config.latency)[0] for latency in ran]
        self.dual.observe(lengths_s, [trace.score or 0.0 for trace in traces])
        return self.dual.weights(), self.dual.metrics()

    def credit(
        self, traces: Sequence[RolloutTrace], latencies: Sequence[Latency], weights: Weights | None = None
    ) -> list[list[list[float]] | None]:
        """Per rollout the utility of each drawn operator, by layer; None for a rollout that failed."""
        objective, signal = self.config.objective, self.config.latency
        credited = [
            None
            if trace.score is None
            else utilities(
                trace.architecture, trace.score, cost_usd(trace, objective), latency, objective, signal, weights
            )
            for trace, latency in zip(traces, latencies, strict=True)
        ]
        if self.config.trainer.baseline == "leave_one_out":
            return subtract_leave_one_out(credited, [trace.query_id for trace in traces])
        return credited

    def update(self, draws: Sequence[Draw], credited: Sequence[list[list[float]] | None]) -> Metrics:
        """Normalise utilities, step Adam on `-mean(log_prob * A) - entropy_weight * mean(entropy of a layer)`.

        Failed rollouts have no part in it.
        """
        kept = [(draw, credit) for draw, credit in zip(draws, credited, strict=True) if credit is not None]
        flat = [value for _, credit in kept for layer in credit for value in layer]
        advantages = torch.tensor(self.ema.normalise(flat))
        log_probs = torch.cat(
            [p for draw, _ in kept for p in self.controller.log_probs(draw, self.config.trainer.log_prob)]
        )
        entropies = torch.stack([entropy(p) for draw, _ in kept for p in draw.log_probabilities])
        loss = policy_loss(log_probs, advantages) - self.config.trainer.entropy_weight * entropies.mean()
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = torch.nn.utils.clip_grad_norm_(self.controller.parameters(), self.config.trainer.max_grad_norm)
        self.adam.step()
        return {
            "loss": float(loss.detach()),
            "grad_norm": float(grad_norm),
            "utility_mean": fmean(flat),
            "ema_mean": self.ema.mean,
            "ema_std": self.ema.std,
            "entropy": float(entropies.detach().mean()),
            "scales": self.controller.log_scales.detach().exp().tolist(),
        }

    def state(self) -> TrainingState:
        """What a checkpoint holds."""
        adam = {
            f"{index}.{name}": torch.as_tensor(value)
            for index, slot in self.adam.state_dict()["state"].items()
            for name, value in slot.items()
        }
        dual = None if self.dual is None else self.dual.state()
        return TrainingState(self.step, self.ema.mean, self.ema.std, self.controller.state_dict(), adam, dual)

    def save(self) -> None:
        """Bring what the run is so far to the disk."""
        calibration = dump_calibration(self.calibration, self.step)
        self.folder.save(self.state(), calibration, self.config.trainer.keep_checkpoints)

    def resume(self) -> None:
        """Go back to the newest checkpoint and forget what the run folder says of later steps."""
        state = load_checkpoint(self.folder.checkpoints)
        self.step, self.ema.mean, self.ema.std = state.step, state.ema_mean, state.ema_std
        self.controller.load_state_dict(state.controller)
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in state.adam.items():
            index, name = key.split(".", 1)
            slots.setdefault(int(index), {})[name] = value
        self.adam.load_state_dict(self.adam.state_dict() | {"state": slots})
        if self.dual is not None and state.dual is not None:
            self.dual.restore(state.dual)
        # The cost model and the pool are functions of the rollouts so far, so they need no place in the checkpoint.
        traces = self.folder.rewind(self.step)
        self.calibration = Calibration.of(traces)
        if self.config.trainer.reuse is not None:
            self.pool = RunPool.of(self.config.trainer.reuse, traces)


def training_positions(config: TrainerConfig, step: int) -> range:
    """Where a step's queries stand in the training split. With `reuse`, each stays for `steps_per_query` steps."""
    steps_per_query = 1 if config.reuse is None else config.reuse.steps_per_query
    first = step * config.queries_per_step // steps_per_query
    return range(first, first + config.queries_per_step)


def make_adam(controller: Controller, config: TrainerConfig) -> torch.optim.Adam:
    """Adam with a learning rate of its own for the logit scales."""
    maps = [parameter for name, parameter in controller.named_parameters() if name != "log_scales"]
    rate = config.scale_learning_rate or config.learning_rate
    scales: dict[str, Any] = {"params": [controller.log_scales], "lr": rate}
    return torch.optim.Adam([{"params": maps}, scales], lr=config.learning_rate)


def check_failures(traces: Sequence[RolloutTrace]) -> None:
    """One failing query never ends a run; a batch of which more than half fails does.

    Raises:
        BatchFailedError: with the commonest reason.
    """
    failures = Counter(f"{trace.failure.kind}: {trace.failure.message}" for trace in traces if trace.failure)
    num_failed = sum(failures.values())
    if num_failed > len(traces) / 2:
        reason, count = failures.most_common(1)[0]
        raise BatchFailedError(f"{num_failed} of {len(traces)} rollouts failed, {count} of them with {reason}")
