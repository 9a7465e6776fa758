from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from serving.fake_engine import FakeEngine, WordTokenizer
from serving.types import Engine, EngineError
from tests.serving.conftest import RequestFactory


async def test_equal_requests_get_equal_answers(make_request: RequestFactory) -> None:
    engine: Engine = FakeEngine()
    first, second = make_request(seed=3), make_request(seed=3)
    assert (await engine.generate(first)).text == (await engine.generate(second)).text


async def test_answers_depend_on_seed_and_messages(make_request: RequestFactory) -> None:
    engine = FakeEngine()
    by_seed = {(await engine.generate(make_request(seed=seed, max_tokens=64))).text for seed in range(30)}
    by_content = {(await engine.generate(make_request(f"{number}?", max_tokens=64))).text for number in range(30)}
    assert len(by_seed) > 20
    assert len(by_content) > 20


async def test_text_ends_in_an_answer_in_range(make_request: RequestFactory) -> None:
    engine = FakeEngine()
    for seed in range(50):
        completion = await engine.generate(make_request(seed=seed, max_tokens=64))
        match = re.search(r"Answer: (\d+)$", completion.text)
        assert match is not None
        assert 2 <= int(match.group(1)) <= 18
        assert completion.finish_reason == "stop"


async def test_max_tokens_cuts_the_text(make_request: RequestFactory) -> None:
    engine = FakeEngine()
    for seed in range(20):
        completion = await engine.generate(make_request(seed=seed, max_tokens=1))
        assert completion.num_output_tokens == engine.tokenizer.count(completion.text) == 1
        assert completion.finish_reason == "length"


async def test_choices_are_kept_and_all_occur(make_request: RequestFactory) -> None:
    engine = FakeEngine()
    texts = {(await engine.generate(make_request(seed=seed, choices=("A", "B two")))).text for seed in range(30)}
    assert texts == {"A", "B two"}


async def test_stamps_are_ordered(make_request: RequestFactory) -> None:
    stamps = (await FakeEngine(delay_s=0.01).generate(make_request())).timing.stamps
    assert list(stamps) == sorted(stamps)
    assert stamps[-1] - stamps[0] >= 0.01


async def test_too_long_a_request_is_an_error(make_request: RequestFactory) -> None:
    with pytest.raises(EngineError, match=r"9 words .* 16"):
        await FakeEngine(max_model_len=20).generate(make_request("one two three"))


async def test_chosen_requests_fail(make_request: RequestFactory) -> None:
    engine = FakeEngine(fail=lambda request: EngineError("chosen") if request.seed == 1 else None)
    results = await asyncio.gather(
        *(engine.generate(make_request(seed=seed)) for seed in range(3)), return_exceptions=True
    )
    assert [isinstance(result, EngineError) for result in results] == [False, True, False]


async def test_prompt_tokens_are_the_counted_ones(make_request: RequestFactory) -> None:
    engine, request = FakeEngine(), make_request()
    completion = await engine.generate(replace(request, request_id="other"))
    assert completion.num_prompt_tokens == engine.count_chat_tokens(request.messages)


@pytest.mark.parametrize(
    ("num_tokens", "start", "end"), [(0, "", ""), (1, " a", "c "), (2, " a  b", "b c "), (3, " a  b c ", " a  b c ")]
)
def test_word_tokenizer_cuts(num_tokens: int, start: str, end: str) -> None:
    tokenizer = WordTokenizer()
    assert tokenizer.keep_start(" a  b c ", num_tokens) == start
    assert tokenizer.keep_end(" a  b c ", num_tokens) == end
