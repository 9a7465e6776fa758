"""What is sent to both sides, and what counts as the same answer."""

from __future__ import annotations

import pytest

from bench.openai_parity import CHOICES, IN_PROCESS, OVER_HTTP, answer_all, compare, main, make_requests, show
from lamas_local.tasks import load_task
from serving.types import Completion, RequestTiming
from tests.lamas_local.builders import make_config


def completion(text: str, seconds: float = 1.0, num_output_tokens: int = 3) -> Completion:
    timing = RequestTiming(0.0, 0.0, 0.0, seconds / 2, seconds, seconds)
    return Completion(text, 7, 0, num_output_tokens, "stop", timing)


async def test_every_request_is_greedy_and_both_sides_get_the_same() -> None:
    config = make_config()
    requests = make_requests(load_task(config.task, config.seed), config, 3, 2)
    assert [request.choices for request in requests] == [None] * 3 + [CHOICES] * 2
    assert {request.temperature for request in requests} == {0.0}
    assert len({request.request_id for request in requests}) == 5
    passes = await answer_all(config, requests, [1, 4])
    assert [one.text for one in passes[1]] == [one.text for one in passes[4]]


def test_a_difference_is_counted_and_kept() -> None:
    ours = [completion("so 4"), completion("so 5"), completion("so 6")]
    theirs = [completion("so 4", 2.0), completion("so 7"), completion("so 6", num_output_tokens=4)]
    figures = compare(ours, theirs)
    assert (figures["num_different"], figures["num_different_counts"]) == (1, 1)
    assert figures["different"] == [(1, "so 5", "so 7")]
    assert figures[IN_PROCESS]["total_s"]["max"] == 1.0
    assert figures[OVER_HTTP]["first_token_s"]["max"] == 1.0
    assert show(8, figures)[:4] == ("8", "2/3", "2/3", "1.00 (1.00–1.00)")


def test_another_engine_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--engine.kind", "fake"]) == 2
    assert "two ways to vLLM" in capsys.readouterr().err
