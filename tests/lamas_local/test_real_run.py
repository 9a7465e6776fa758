"""A small training run and evaluation on the real engine: what its files say of time must be true."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from lamas_local.config import ArithmeticTaskConfig, Config, ControllerConfig, SamplingConfig, TrainerConfig
from lamas_local.critical_path import critical_path
from lamas_local.embedding import FakeEmbedder
from lamas_local.evaluation import evaluate
from lamas_local.executor import Executor
from lamas_local.latency import requests
from lamas_local.operators import load_operators
from lamas_local.policy import parse_fixed
from lamas_local.run_folder import RunFolder
from lamas_local.session import new_controller
from lamas_local.tasks import load_task
from lamas_local.trace import RolloutTrace, read_traces
from lamas_local.trainer import Trainer
from serving.vllm_engine import VllmEngine

CONFIG = Config(
    task=ArithmeticTaskConfig(levels=(1,)),
    controller=ControllerConfig(encoder="fake"),
    sampling=SamplingConfig(temperature=0.5, max_tokens=16),
    trainer=TrainerConfig(num_steps=1, queries_per_step=2, rollouts_per_query=2),
)
WIDE = "fixed:Generate,GenerateCoT,MultiGenerateCoT+ScEnsemble,SelfRefine"


async def real_run(engine: VllmEngine, path: Path) -> tuple[Trainer, list[RolloutTrace]]:
    """One training step, then two queries of a wide architecture, read back from the run folder."""
    task, operators = load_task(CONFIG.task, CONFIG.seed), load_operators(CONFIG.operators)
    executor = Executor(engine, task, operators, CONFIG.sampling, CONFIG.seed)
    folder, embedder = RunFolder(path / "run"), FakeEmbedder()
    folder.create(CONFIG, resume=False, restart=False)
    trainer = Trainer(CONFIG, task, new_controller(CONFIG, operators, embedder), embedder, executor, folder)
    await trainer.train(asyncio.Event())
    config = CONFIG.model_copy(
        update={"evaluation": CONFIG.evaluation.model_copy(update={"policies": (WIDE,), "num_queries": 2})}
    )
    policies = {WIDE: parse_fixed(WIDE)}
    await evaluate(policies, task, executor, config, asyncio.Event(), lambda trace: folder.append_traces([trace]))
    return trainer, read_traces(folder.traces)


@pytest.mark.engine
async def test_a_training_step_and_honest_clocks(engine: VllmEngine, tmp_path: Path) -> None:
    before = new_controller(CONFIG, load_operators(CONFIG.operators), FakeEmbedder()).state_dict()
    trainer, traces = await real_run(engine, tmp_path)

    assert trainer.step == 1
    assert any((value != before[name]).any() for name, value in trainer.controller.state_dict().items())
    assert len(traces) == 4 + 2
    for trace in traces:
        assert trace.failure is None
        for span in requests(trace):
            assert span.timing is not None
            stamps = span.timing
            in_order = [stamps.submitted, stamps.queued, stamps.scheduled, stamps.first_token, stamps.last_token]
            in_order.append(stamps.returned)
            assert in_order == sorted(in_order)
            assert 0 < span.num_output_tokens <= CONFIG.sampling.max_tokens
        wall_s = trace.ended - trace.started
        assert sum(critical_path(trace, "seconds").stages) == pytest.approx(wall_s, rel=0.02)
        for layer in trace.layers:
            longest = max((span.ended - span.started for span in layer.operators), default=0.0)
            assert longest <= layer.ended - layer.started
    for trace in traces[-2:]:
        generators = trace.layers[0].operators
        assert max(span.started for span in generators) < min(span.ended for span in generators), "not at once"
