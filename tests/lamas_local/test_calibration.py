"""The online fit: when there is a model, what it is fitted to, its error on what is new, its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lamas_local import calibration as module
from lamas_local.calibration import (
    MIN_REQUESTS,
    Calibration,
    CalibrationError,
    calibration_error,
    check_signal,
    dump_calibration,
    is_held_out,
    load_cost_model,
)
from lamas_local.config import ConfigError
from lamas_local.cost_model import CostModel
from lamas_local.trace import Failure, RequestSpan, RolloutTrace
from tests.lamas_local.builders import layer, make_config, operator, request, tool, trace
from tests.lamas_local.synthetic_engine import Arrival, serve

ENGINE = CostModel(0.05, 0.004, 0.002, wait_s=0.01, wait_steps=1.0, return_s=0.003)


def rollouts(step: int, num: int = 12, engine: CostModel = ENGINE) -> list[RolloutTrace]:
    """Rollouts of one step: bursts of requests, a rollout each."""
    found = []
    for index in range(num):
        size, start = 1 + (index + step) % 4, 1000.0 * step + 20.0 * index
        spans = serve([Arrival(start, 10 + 7 * index + step, 5 + 3 * (index % 5))] * size, engine)
        wall_s = max(span.ended for span in spans) - start
        found.append(
            trace(layer(operator(tuple(spans), seconds=wall_s)), wall_s=wall_s, step=step, query_id=f"q{index}")
        )
    return found


def test_too_few_requests_make_no_model() -> None:
    calibration = Calibration()
    calibration.add([])
    calibration.add([trace(layer(operator(tool(1.0))))])
    calibration.add(rollouts(1, 3))
    assert (calibration.model, calibration.num_requests) == (None, 0)
    calibration.add(rollouts(2, 12))
    assert calibration.model is not None
    assert calibration.num_requests >= MIN_REQUESTS


def test_requests_without_a_length_are_not_fitted_to() -> None:
    calibration = Calibration()
    calibration.add([trace(layer(operator(*(request(1) for _ in range(2 * MIN_REQUESTS)))))])
    assert calibration.model is None


def test_requests_that_an_engine_elsewhere_answered_are_not_fitted_to() -> None:
    def seen_from_here(span: RequestSpan) -> RequestSpan:
        assert span.timing is not None
        return replace(span, timing=replace(span.timing, is_client_side=True))

    spans = serve([Arrival(20.0 * index, 10 + index, 5) for index in range(2 * MIN_REQUESTS)], ENGINE)
    traces = [trace(layer(operator(tuple(seen_from_here(span) for span in spans))))]
    calibration = Calibration()
    calibration.add(traces)
    assert calibration.model is None
    assert calibration_error(traces, ENGINE) == CalibrationError(None, None)


def test_a_signal_that_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    engine = {"kind": "openai", "model": "m", "base_urls": ["http://127.0.0.1:8000/v1"]}
    check_signal(make_config(tmp_path, engine=engine, latency={"signal": "measured"}))
    with pytest.raises(ConfigError, match="waiting from prefill"):
        check_signal(make_config(tmp_path, engine=engine, latency={"signal": "calibrated"}))


def test_new_rollouts_are_predicted() -> None:
    calibration = Calibration()
    calibration.add(rollouts(1))
    assert calibration.model is not None
    error = calibration_error(rollouts(2), calibration.model)
    assert error.rollouts == pytest.approx(0, abs=1e-3)
    assert error.requests == pytest.approx(0, abs=1e-3)
    slower = replace(ENGINE, step_s=0.1, running_s=0.008, prefill_token_s=0.004, wait_s=0.02, return_s=0.006)
    assert calibration_error(rollouts(2, engine=slower), calibration.model).rollouts == pytest.approx(0.5, abs=0.01)


def test_failed_rollouts_are_load_but_no_error() -> None:
    calibration = Calibration()
    calibration.add(rollouts(1))
    assert calibration.model is not None
    found = rollouts(2)
    failed = [replace(one, failure=Failure("E", "e"), ended=one.ended + 50) for one in found[:3]]
    error = calibration_error([*failed, *found[3:]], calibration.model)
    assert error.rollouts == pytest.approx(0, abs=1e-3)
    assert calibration_error([trace()], calibration.model).requests is None


def test_the_window_holds_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 30)
    slower = replace(ENGINE, step_s=0.5)
    calibration = Calibration()
    calibration.add(rollouts(1))
    calibration.add(rollouts(2, 24, slower))
    assert calibration.num_requests == 30
    assert calibration.model is not None
    assert calibration.model.step_s == pytest.approx(0.5, rel=1e-3)


def test_fitted_offline_it_is_what_it_was_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WINDOW", 50)
    steps = [rollouts(step) for step in (1, 2, 3)]
    grown = Calibration()
    for step in steps:
        grown.add(step)
    evaluated = replace(steps[0][0], policy="trained", step=3)
    restored = Calibration.of([evaluated, *(one for step in steps for one in step)])
    assert restored.model == grown.model
    grown.add(rollouts(4))
    restored.add(rollouts(4))
    assert restored.model == grown.model
    assert restored.num_requests == grown.num_requests == 50


def test_the_same_queries_are_held_out_in_every_run() -> None:
    # The lowest bit of BLAKE2b with one byte of digest, as `b2sum -l 8` prints it.
    assert [is_held_out(query) for query in ("a", "b", "c", "d", "e", "f")] == [False, True, True, False, False, False]


def test_half_of_the_queries_are_held_out() -> None:
    share = sum(is_held_out(f"arithmetic-test-{index}") for index in range(1000)) / 1000
    assert 0.45 < share < 0.55


# The file


def test_what_is_written_is_read_to_the_bit(tmp_path: Path) -> None:
    calibration = Calibration()
    calibration.add(rollouts(1))
    file = tmp_path / "calibration.json"
    file.write_bytes(dump_calibration(calibration, 1))
    assert load_cost_model(file) == calibration.model
    content = json.loads(file.read_text())
    assert (content["step"], content["num_requests"]) == (1, calibration.num_requests)


def test_no_file_and_no_model_are_no_model(tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    assert load_cost_model(file) is None
    file.write_bytes(dump_calibration(Calibration(), 0))
    assert load_cost_model(file) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 3}', '{"model": {"step_s": 1}}'])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"calibration\.json: the calibration cannot be read"):
        load_cost_model(file)


def test_what_was_begun_again_is_not_fitted_to() -> None:
    """Its wait is that of a lost replica, which says nothing of the engine."""
    calibration, traces = Calibration(), rollouts(1)
    first = traces[0].layers[0].operators[0]
    (spans,) = first.steps
    retried = replace(first, steps=(tuple(replace(one, num_retries=1) for one in spans if one.kind == "request"),))
    calibration.add([replace(traces[0], layers=(layer(retried),)), *traces[1:]])
    alone = Calibration()
    alone.add(traces)
    assert alone.num_requests - calibration.num_requests == len(spans)
