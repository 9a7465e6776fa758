"""The fit gives back the parameters that made the stamps, and what it predicts never falls with more work."""

from __future__ import annotations

from dataclasses import astuple, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamas_local.cost_model import CostModel, Seconds, Work, fit_cost_model, mape
from lamas_local.engine_load import observe
from tests.lamas_local.synthetic_engine import Arrival, serve

ENGINE = CostModel(0.05, 0.004, 0.002, wait_s=0.01, wait_steps=1.0, return_s=0.003)
seconds = st.floats(0.0, 10.0)
models = st.builds(CostModel, seconds, seconds, seconds, seconds, st.floats(0.0, 1.0), seconds)


def random_work(rng: np.random.Generator, size: int = 60) -> Work:
    running = rng.integers(0, 40, size).astype(float)
    return Work(
        wait_running=running,
        wait_tokens=rng.integers(0, 900, size) * (running > 0).astype(float),
        prefill_running=running + 1,
        prefill_tokens=rng.integers(1, 900, size).astype(float),
        decode_steps=rng.integers(0, 60, size).astype(float),
        decode_running=rng.uniform(1, 40, size),
        decode_tokens=rng.integers(0, 900, size).astype(float),
    )


@pytest.mark.parametrize(
    "model",
    [
        ENGINE,
        CostModel(0.01, 0.02, 0.0, wait_s=0.0, wait_steps=0.5, return_s=0.0),
        CostModel(0.0, 0.003, 0.001, wait_s=0.2, wait_steps=0.0, return_s=0.1),
    ],
)
def test_parameters_are_recovered_from_what_they_predict(model: CostModel) -> None:
    work = random_work(np.random.default_rng(1))
    assert astuple(fit_cost_model(work, model.predict(work))) == pytest.approx(astuple(model), abs=1e-9)


def test_parameters_are_recovered_from_stamps() -> None:
    # Bursts of equal requests with pauses between them: what runs beside each is the same all the time.
    arrivals = [
        Arrival(20.0 * burst, uncached, output)
        for burst, (size, uncached, output) in enumerate(
            [(1, 10, 5), (4, 50, 20), (9, 120, 40), (2, 300, 2), (16, 7, 9)]
        )
        for _ in range(size)
    ]
    fitted = fit_cost_model(*observe(serve(arrivals, ENGINE)))
    assert (fitted.step_s, fitted.running_s, fitted.prefill_token_s) == pytest.approx((0.05, 0.004, 0.002), rel=1e-6)
    assert (fitted.wait_s, fitted.return_s) == pytest.approx((0.01, 0.003), rel=1e-6)


def test_held_out_requests_of_a_busy_engine_are_predicted() -> None:
    rng = np.random.default_rng(3)
    arrivals = [
        Arrival(moment, int(rng.integers(5, 300)), int(rng.integers(1, 60)))
        for moment in np.cumsum(rng.exponential(0.4, 300))
    ]
    work, measured = observe(serve(arrivals, ENGINE))
    even, odd = slice(0, None, 2), slice(1, None, 2)
    fitted = fit_cost_model(work.rows(even), measured.rows(even))
    error = mape(fitted.predict(work.rows(odd)).total, measured.rows(odd).total)
    assert error is not None
    assert error < 0.08
    assert (fitted.step_s, fitted.running_s, fitted.prefill_token_s) == pytest.approx((0.05, 0.004, 0.002), rel=0.15)


def test_slow_outliers_do_not_move_the_fit() -> None:
    work = random_work(np.random.default_rng(2), 200)
    measured = ENGINE.predict(work)
    slower = np.where(np.arange(200) % 10 == 0, 5.0, 1.0)  # a machine that did something else for a while
    fitted = fit_cost_model(work, Seconds(*(column * slower for column in measured.columns())))
    assert astuple(fitted) == pytest.approx(astuple(ENGINE), rel=0.05, abs=1e-3)


@given(st.integers(0, 2**32 - 1))
def test_no_parameter_is_negative_whatever_was_measured(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = Seconds(*(rng.exponential(1.0, 30) for _ in fields(Seconds)))
    fitted = fit_cost_model(random_work(rng, 30), noise)
    assert all(value >= 0 and np.isfinite(value) for value in astuple(fitted))
    assert fitted.wait_steps <= 1


@given(models, st.integers(0, 2**32 - 1), st.sampled_from([field.name for field in fields(Work)]), st.floats(0.0, 50.0))
def test_more_of_anything_never_takes_less_time(model: CostModel, seed: int, column: str, more: float) -> None:
    work = random_work(np.random.default_rng(seed), 20)
    increased = Work(*(getattr(work, f.name) + (more if f.name == column else 0.0) for f in fields(Work)))
    assert np.all(model.predict(increased).total >= model.predict(work).total)


def test_a_prediction_by_hand() -> None:
    work = Work(*(np.array([value]) for value in (3.0, 100.0, 4.0, 50.0, 10.0, 5.0, 20.0)))
    predicted = ENGINE.predict(work)
    assert predicted.wait[0] == pytest.approx(0.01 + 0.05 + 3 * 0.004 + 100 * 0.002)
    assert predicted.prefill[0] == pytest.approx(0.05 + 4 * 0.004 + 50 * 0.002)
    assert predicted.decode[0] == pytest.approx(10 * (0.05 + 5 * 0.004) + 20 * 0.002)
    assert predicted.back[0] == 0.003
    assert predicted.total[0] == pytest.approx(0.272 + 0.166 + 0.74 + 0.003)


def test_an_idle_engine_lets_nobody_wait_for_a_step() -> None:
    work = Work(*(np.array([value]) for value in (0.0, 0.0, 1.0, 50.0, 0.0, 1.0, 0.0)))
    assert ENGINE.predict(work).wait[0] == 0.01


def test_mape_by_hand() -> None:
    assert mape([1.0, 3.0, 5.0], [2.0, 2.0, 0.0]) == pytest.approx(0.5)
    assert mape([1.0], [0.0]) is None
