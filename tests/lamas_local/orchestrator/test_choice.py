from __future__ import annotations

from lamas_local.config import ControllerConfig
from lamas_local.embedding import FakeEmbedder
from lamas_local.operators import load_operators
from lamas_local.orchestrator.choice import draws, first_that_fits, without_stop
from lamas_local.session import new_controller
from lamas_local.trace import Architecture
from tests.lamas_local.builders import make_config

SLOW: Architecture = (("MultiGenerateCoT",), ("SelfRefine",))
MIDDLE: Architecture = (("GenerateCoT",),)
QUICK: Architecture = (("Generate",),)
SECONDS = {SLOW: 3.0, MIDDLE: 2.0, QUICK: 1.0}


def test_the_first_that_fits_is_taken_not_the_quickest() -> None:
    assert first_that_fits([SLOW, MIDDLE, QUICK], SECONDS.__getitem__, 2.5) == MIDDLE
    assert first_that_fits([SLOW, MIDDLE, QUICK], SECONDS.__getitem__, 9.0) == SLOW


def test_where_none_fits_it_is_the_quickest() -> None:
    assert first_that_fits([SLOW, QUICK, MIDDLE], SECONDS.__getitem__, 0.5) == QUICK


def test_where_nothing_can_be_predicted_it_is_the_first() -> None:
    assert first_that_fits([SLOW, QUICK], lambda _: None, 0.5) == SLOW


def test_early_stop_and_empty_layers_do_not_run() -> None:
    assert without_stop((("Generate", "EarlyStop"),)) == QUICK
    assert without_stop((("Generate",), ("EarlyStop",))) == QUICK


def test_the_first_draw_does_not_depend_on_how_many_there_are() -> None:
    config = make_config(controller=ControllerConfig(encoder="fake", num_layers=3).model_dump())
    embedder = FakeEmbedder()
    controller = new_controller(config, list(load_operators(config.operators)), embedder)
    query = embedder.embed(["What?"])[0]
    one, many = draws(controller, query, 7, 1), draws(controller, query, 7, 8)
    assert many[0] == one[0]
    assert len(set(many)) > 1
    assert draws(controller, query, 8, 8) != many
    assert all(layer and "EarlyStop" not in layer for drawn in many for layer in drawn)
