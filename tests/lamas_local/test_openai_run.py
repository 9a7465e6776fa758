"""A whole run on an endpoint over HTTP: marked times, no cost model, and the key nowhere in the run folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamas_local.calibration import load_cost_model
from lamas_local.cli import main
from lamas_local.latency import requests
from lamas_local.run_folder import RunFolder
from lamas_local.trace import read_traces
from tests.lamas_local.builders import make_config, write_config
from tests.serving.http.running import CountingEngine, EngineBackend, running

KEY = "sk-of-this-test-and-no-other"


def test_a_run_trains_and_evaluates_over_http(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", KEY)
    folder = RunFolder(tmp_path / "run")
    with running(EngineBackend(CountingEngine()), api_keys=(KEY,)) as server:
        engine = {"kind": "openai", "base_urls": [f"{server.url}/v1"], "model": "base", "max_model_len": 2048}
        arguments = write_config(folder.path, engine=engine | {"api_key_env": "KEY_OF_A_TEST"})
        assert main(arguments) == 0
    config = make_config()
    traces = read_traces(folder.traces)
    assert len([trace for trace in traces if trace.policy == "train"]) == (
        config.trainer.num_steps * config.trainer.queries_per_step * config.trainer.rollouts_per_query
    )
    timed = [span.timing for trace in traces for span in requests(trace) if span.timing is not None]
    assert timed
    assert all(timing.is_client_side for timing in timed)
    assert load_cost_model(folder.calibration) is None
    written = b"".join(file.read_bytes() for file in folder.path.rglob("*") if file.is_file())
    shown = capsys.readouterr()
    assert KEY.encode() not in written
    assert KEY not in shown.out + shown.err
    assert b"KEY_OF_A_TEST" in written
