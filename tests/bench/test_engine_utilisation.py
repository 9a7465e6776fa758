"""The program on a fake engine, and its parts."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from bench.engine_utilisation import main, run_executor, turns
from bench.recording_engine import RecordingEngine
from lamas_local.config import Config
from lamas_local.config_loader import load_config
from serving.fake_engine import FakeEngine
from serving.types import EngineError, GenerationRequest, Message


def fake_config(file: str) -> Config:
    return load_config(Path(file))


def request(number: int) -> GenerationRequest:
    return GenerationRequest(str(number), (Message("user", "How many?"),), 48, 1.0, seed=number)


def test_turns() -> None:
    assert turns(3) == ["executor", "vllm", "vllm", "executor", "executor", "vllm"]
    assert turns(2).index("executor") < turns(2).index("vllm")


async def test_recording_engine_keeps_what_succeeded() -> None:
    inner = FakeEngine(fail=lambda request: EngineError("no") if request.request_id == "1" else None)
    engine = RecordingEngine(inner)
    answers = await asyncio.gather(*(engine.generate(request(i)) for i in range(3)), return_exceptions=True)
    assert isinstance(answers[1], EngineError)
    assert [one.request_id for one in engine.requests] == ["0", "2"]
    assert engine.completions == [answers[0], answers[2]]
    assert engine.max_model_len == inner.max_model_len
    served = engine.served(2.0)
    assert served.num_requests == 2
    assert served.num_output_tokens == sum(completion.num_output_tokens for completion in engine.completions)
    assert served.tokens_per_s == served.num_output_tokens / 2


async def test_executor_pass_sends_the_same_requests_every_time(config_file: str) -> None:
    first, second = [await run_executor(fake_config(config_file), 6) for _ in range(2)]
    assert Counter(first.recorded.measured) == Counter(second.recorded.measured)
    assert first.num_failed == 0
    assert first.served.num_requests == len(first.recorded.measured)
    # Warm-up is not measured, and of another split.
    assert not set(first.recorded.warm_up) & set(first.recorded.measured)


def test_the_program(config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--num-rollouts", "6", "--repeats", "2", "--num-orchestrated", "5"]
    assert main(["--config", config_file, "--output", str(tmp_path), *flags]) == 0
    result = json.loads((tmp_path / "engine_utilisation" / "result.json").read_text())
    assert {"figures", "raw", "command", "environment", "config", "load_average_before"} <= result.keys()
    figures, raw = result["figures"], result["raw"]
    assert {"share", "share_by_repeat", "executor_tokens_per_s", "vllm_tokens_per_s"} <= figures.keys()
    assert figures["orchestration_cpu_ms"]["median"] > 0
    assert figures["is_share_target_met"] == (figures["share"] >= 0.9)
    assert len(raw["executor"]) == len(raw["vllm"]) == 2
    for ours, theirs in zip(raw["executor"], raw["vllm"], strict=True):
        # Equal requests get equal answers, so both sides made the same tokens.
        assert ours["num_output_tokens"] == theirs["num_output_tokens"]
        assert ours["num_prompt_tokens"] == theirs["num_prompt_tokens"]
    orchestration = raw["orchestration"]
    assert len(orchestration["all_ms"]) == 5
    assert [len(layer) for layer in orchestration["executed"]] == [2, 2, 2, 2]
    assert len(orchestration["drawn"]) == 4
    output = capsys.readouterr().out
    assert output.count("target m") == 2
    assert "all at once" in output


def test_a_failed_rollout_fails_the_run(
    config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = FakeEngine(fail=lambda request: EngineError("no luck"))
    monkeypatch.setattr(FakeEngine, "generate", failing.generate)
    flags = ["--num-rollouts", "2", "--repeats", "2", "--num-orchestrated", "2"]
    assert main(["--config", config_file, "--output", str(tmp_path), *flags]) == 1
    assert "2 rollouts failed" in capsys.readouterr().err
