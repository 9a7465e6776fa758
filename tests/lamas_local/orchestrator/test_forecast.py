from __future__ import annotations

from lamas_local.cost_model import CostModel
from lamas_local.operators import OPERATORS, Operator
from lamas_local.orchestrator.forecast import Forecast
from lamas_local.orchestrator.margin import LEAST_S, Margin
from lamas_local.trace import OperatorSpan
from tests.lamas_local.builders import layer, make_config, operator, request, trace

OURS: dict[str, Operator] = {name: kind() for name, kind in OPERATORS.items()}
STEP = CostModel(step_s=0.1, running_s=0.0, prefill_token_s=0.0, wait_s=0.0, wait_steps=0.0, return_s=0.0)
"""Every token takes 0.1 s, whatever else runs."""
CROWDED = CostModel(step_s=0.1, running_s=0.1, prefill_token_s=0.0, wait_s=0.0, wait_steps=0.0, return_s=0.0)


def ran(name: str, *tokens: int) -> OperatorSpan:
    return operator(*tokens, name=name)


def forecast(model: CostModel | None = STEP) -> Forecast:
    past = [
        trace(layer(ran("Generate", 3), ran("GenerateCoT", 20))),
        trace(layer(ran("Generate", 5), ran("GenerateCoT", 30))),
        trace(layer(ran("Generate", 9), operator((request(10), request(12)), name="MultiGenerateCoT"))),
        trace(layer(operator(99, name="Generate", is_aborted=True))),  # says nothing
    ]
    return Forecast(model, OURS, make_config(sampling={"max_tokens": 48}), past)


def seconds(one: Forecast, *layers: tuple[str, ...], mode: str = "layered", running: int = 0) -> float:
    found = one.seconds(layers, mode, (), running)  # type: ignore[arg-type]
    assert found is not None
    return round(found, 6)


def test_steps_add_layers_add_and_operators_of_a_layer_run_together() -> None:
    one = forecast()
    assert seconds(one, ("Generate",)) == 0.5  # the middle run
    assert seconds(one, ("Generate", "GenerateCoT")) == 3.0
    assert seconds(one, ("Generate", "GenerateCoT"), mode="sequential") == 3.5
    assert seconds(one, ("Generate",), ("GenerateCoT",)) == 3.5
    assert seconds(one, ("Generate",), ("GenerateCoT",), mode="dataflow") == 3.0  # neither reads the other


def test_a_busy_engine_is_slower() -> None:
    assert seconds(forecast(CROWDED), ("Generate",), running=9) > 2 * seconds(forecast(CROWDED), ("Generate",))


def test_an_operator_that_never_ran_takes_the_longest_answer() -> None:
    assert seconds(forecast(), ("SelfRefine",)) == 4.8


def test_it_learns_and_knows_when_it_cannot_tell() -> None:
    one = forecast()
    for _ in range(5):
        one.learn(trace(layer(ran("Generate", 40))))
    assert seconds(one, ("Generate",)) == 4.0
    assert forecast(None).seconds((("Generate",),), "layered", (), 0) is None


def test_the_margin_is_the_worst_of_late() -> None:
    margin = Margin()
    assert margin.of(10.0) == LEAST_S
    for lateness_s in (0.01, 0.2, 0.02):
        margin.learn(lateness_s)
    assert margin.of(10.0) == 0.2 + LEAST_S
    assert margin.of(0.4) == 0.1
