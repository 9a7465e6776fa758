from __future__ import annotations

import asyncio

import pytest

from lamas_local.virtual_time import run_virtually
from serving.character_tokenizer import CharacterTokenizer
from serving.clock import now
from serving.continuous_batching import BatchLimits, StepCost
from serving.simulated_engine import Response, SimulatedEngine
from serving.types import Completion, EngineDeadError, EngineError, GenerationRequest, Message
from tests.serving.conftest import RequestFactory

COST = StepCost(step_s=1.0, running_s=0.25, prefill_token_s=0.125, wait_s=0.5, return_s=0.0625)
LIMITS = BatchLimits(max_num_seqs=4, max_num_batched_tokens=64, kv_cache_tokens=256, block_size=4)


class Echo:
    """Answers with the prompt, in as many tokens as allowed."""

    def respond(self, request: GenerationRequest) -> Response:
        return Response(request.messages[-1].content, request.max_tokens, is_cut=request.max_tokens > 4)


def engine(**changes: int) -> SimulatedEngine:
    return SimulatedEngine(Echo(), COST, LIMITS, CharacterTokenizer(1.0, 0), **{"max_model_len": 128, **changes})


def request(text: str, max_tokens: int = 3) -> GenerationRequest:
    return GenerationRequest("r", (Message("user", text),), max_tokens, 1.0, seed=0)


def test_one_alone_takes_what_the_model_says() -> None:
    async def main() -> Completion:
        await asyncio.sleep(2.0)
        return await engine().generate(request("abcdefgh"))

    completion = run_virtually(main())
    assert (completion.text, completion.num_prompt_tokens, completion.num_output_tokens) == ("abcdefgh", 8, 3)
    assert completion.finish_reason == "stop"
    assert completion.timing.stamps == (2.0, 2.5, 2.5, 4.75, 7.25, 7.3125)


def test_a_prompt_that_was_there_before_is_cached_up_to_its_last_whole_block() -> None:
    async def main() -> tuple[Completion, Completion]:
        one = engine()
        return await one.generate(request("abcdefgh")), await one.generate(request("abcdefgh", 5))

    first, second = run_virtually(main())
    assert (first.num_cached_tokens, second.num_cached_tokens) == (0, 4)
    assert second.finish_reason == "length"


def test_cancelling_frees_the_place() -> None:
    async def main() -> tuple[float, Completion]:
        one = engine()
        tasks = [asyncio.create_task(one.generate(request("abcd", 60))) for _ in range(4)]
        await asyncio.sleep(10.0)
        waiting = asyncio.create_task(one.generate(request("efgh")))
        await asyncio.sleep(10.0)
        assert not waiting.done()
        tasks[1].cancel()
        await asyncio.wait({tasks[1]})
        assert tasks[1].cancelled()
        cancelled = now()
        completion = await waiting
        await asyncio.gather(tasks[0], tasks[2], tasks[3])
        return cancelled, completion

    cancelled, completion = run_virtually(main())
    assert cancelled < completion.timing.scheduled <= cancelled + 2.0, "at the end of the step under way"


def test_what_can_never_fit_is_refused_with_both_figures() -> None:
    for one, text in ((engine(), "max_model_len|128"), (engine(max_model_len=10_000), "whole cache of 256")):
        with pytest.raises(EngineError, match=text):
            run_virtually(one.generate(request("x" * 300)))


def test_closing_fails_what_runs_and_what_comes() -> None:
    async def main() -> None:
        one = engine()
        task = asyncio.create_task(one.generate(request("abcd", 60)))
        await asyncio.sleep(1.0)
        await one.close()
        await one.close()
        with pytest.raises(EngineDeadError, match="closed"):
            await task
        with pytest.raises(EngineDeadError, match="closed"):
            await one.generate(request("abcd"))

    run_virtually(main())


def test_equal_requests_have_equal_stamps_and_noise_changes_them() -> None:
    async def main(noise: float, seed: int) -> list[tuple[float, ...]]:
        one = SimulatedEngine(
            Echo(), COST, LIMITS, CharacterTokenizer(1.0, 0), max_model_len=128, noise=noise, seed=seed
        )
        requests = [request(f"{i:04d}" * (1 + i % 5), 1 + i % 7) for i in range(40)]
        done = await asyncio.gather(*(one.generate(each) for each in requests))
        return [completion.timing.stamps for completion in done]

    assert run_virtually(main(0.0, 1)) == run_virtually(main(0.0, 2))
    assert run_virtually(main(0.1, 1)) == run_virtually(main(0.1, 1)) != run_virtually(main(0.1, 2))
    for stamps in run_virtually(main(0.1, 1)):
        assert stamps == tuple(sorted(stamps))


async def test_on_a_real_loop_it_takes_real_seconds(make_request: RequestFactory) -> None:
    cost = StepCost(0.01, 0.0, 0.0)
    one = SimulatedEngine(Echo(), cost, LIMITS, CharacterTokenizer(4.0, 0), max_model_len=128)
    started = now()
    await one.generate(make_request(max_tokens=10))
    assert now() - started >= 0.1
