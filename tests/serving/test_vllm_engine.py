from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from prometheus_client import REGISTRY

from serving.types import Completion, EngineError, EngineStartError
from serving.vllm_engine import VllmEngine
from serving.watchdog import MARKER_VARIABLE
from tests.serving.conftest import RequestFactory

pytestmark = pytest.mark.engine

ORPHAN_DEADLINE_S = 10.0
START_DEADLINE_S = 240.0


async def test_stamps_are_ordered_and_counts_match(engine: VllmEngine, make_request: RequestFactory) -> None:
    before, request = time.monotonic(), make_request(max_tokens=12)
    completion = await engine.generate(request)
    stamps = [before, *completion.timing.stamps, time.monotonic()]
    assert stamps == sorted(stamps)
    assert completion.num_prompt_tokens == engine.count_chat_tokens(request.messages)
    assert 1 <= completion.num_output_tokens <= 12
    assert completion.finish_reason == ("length" if completion.num_output_tokens == 12 else "stop")


async def test_chat_template_is_applied_once(engine: VllmEngine, make_request: RequestFactory) -> None:
    text = engine.tokenizer._tokenizer.decode(engine.tokenizer.chat_tokens(make_request("Hi").messages))
    assert text == (
        "<|im_start|>system\nYou solve word problems.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


async def test_requests_together_are_faster_than_in_turn(engine: VllmEngine, make_request: RequestFactory) -> None:
    async def ask(seed: int) -> Completion:
        return await engine.generate(make_request(f"Tell a story of {seed} cats.", seed=seed, max_tokens=24))

    await ask(0)
    started = time.monotonic()
    for seed in range(1, 7):
        await ask(seed)
    in_turn_s = time.monotonic() - started
    started = time.monotonic()
    await asyncio.gather(*(ask(seed) for seed in range(7, 13)))
    assert time.monotonic() - started < 0.7 * in_turn_s


async def test_cancelling_stops_the_work(engine: VllmEngine, make_request: RequestFactory) -> None:
    task = asyncio.ensure_future(engine.generate(make_request("Write a long story.", max_tokens=1900)))
    await asyncio.sleep(1)
    assert engine._llm.get_num_unfinished_requests() == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine._llm.get_num_unfinished_requests() == 0
    # What runs in the engine costs processor time: an aborted story costs none.
    await asyncio.sleep(1)
    (worker,) = [child for child in psutil.Process().children(recursive=True) if child.name() == "VLLM::Worker"]
    before = sum(worker.cpu_times()[:2])
    await asyncio.sleep(2)
    assert sum(worker.cpu_times()[:2]) - before < 0.5


def _engine_counts(name: str) -> float:
    """A figure of vLLM's own metrics, over the engines of this process."""
    return sum(sample.value for family in REGISTRY.collect() for sample in family.samples if sample.name == name)


async def test_an_abandoned_request_stops_generating(engine: VllmEngine, make_request: RequestFactory) -> None:
    """Tokens and running requests are those the engine counts."""
    before = _engine_counts("vllm:generation_tokens_total")
    task = asyncio.ensure_future(engine.generate(make_request("Write a long story.", max_tokens=1900)))
    while not (written := _engine_counts("vllm:generation_tokens_total") - before):
        await asyncio.wait([task], timeout=0.02)
    task.cancel()
    await asyncio.wait([task])
    abandoned = _engine_counts("vllm:generation_tokens_total")
    assert 0 < written <= abandoned - before < 1900

    running: set[float] = set()
    next_one = asyncio.ensure_future(engine.generate(make_request("Count to twenty.", max_tokens=40)))
    while not next_one.done():
        await asyncio.wait([next_one], timeout=0.02)
        if _engine_counts("vllm:generation_tokens_total") > abandoned:  # the engine's steps since then have this one
            running.add(_engine_counts("vllm:num_requests_running"))
    assert _engine_counts("vllm:generation_tokens_total") - abandoned == next_one.result().num_output_tokens
    assert running <= {0.0, 1.0}
    assert 1.0 in running


async def test_choice_is_always_a_candidate(engine: VllmEngine, make_request: RequestFactory) -> None:
    choices = ("A", "B", "none of them")
    requests = [make_request("Pick.", seed=seed, temperature=1.5, choices=choices) for seed in range(6)]
    completions = await asyncio.gather(*(engine.generate(request) for request in requests))
    assert {completion.text for completion in completions} <= set(choices)


async def test_choice_cut_by_max_tokens_is_an_error(engine: VllmEngine, make_request: RequestFactory) -> None:
    with pytest.raises(EngineError, match="max_tokens=1 is too few"):
        await engine.generate(make_request(max_tokens=1, choices=("one two three four", "one two three five")))


async def test_equal_seeds_give_equal_text(engine: VllmEngine, make_request: RequestFactory) -> None:
    seeds = [1, 2, 1, 2, 3]
    requests = [make_request("Name an animal.", seed=seed, temperature=1.0) for seed in seeds]
    texts = [completion.text for completion in await asyncio.gather(*(engine.generate(r) for r in requests))]
    assert texts[:2] == texts[2:4]
    assert len(set(texts)) == 3


async def test_seeded_prompts_beyond_one_step_do_not_end_the_engine(
    engine: VllmEngine, make_request: RequestFactory
) -> None:
    """Together they exceed max_num_batched_tokens; split prompts with seeds crash vLLM 0.32's CPU worker."""
    requests = [make_request(f"{name} " * 800, seed=1, max_tokens=2) for name in ("cat", "dog", "cow")]
    completions = await asyncio.gather(*(engine.generate(request) for request in requests))
    assert sum(completion.num_prompt_tokens for completion in completions) > 2048


async def test_too_long_a_request_is_an_error(engine: VllmEngine, make_request: RequestFactory) -> None:
    with pytest.raises(EngineError, match=r"max_tokens is 2040: together more than the model's 2048"):
        await engine.generate(make_request(max_tokens=2040))


async def test_what_vllm_refuses_is_an_error(engine: VllmEngine, make_request: RequestFactory) -> None:
    with pytest.raises(EngineError, match="temperature"):
        await engine.generate(make_request(temperature=-1.0))


@pytest.mark.parametrize("text", ["", "  Two  words ", "naïve café 数学 🙂🙂 end", "a\n\n\nb   c 12345 678"])
async def test_cut_text_is_an_end_of_it_and_fits(engine: VllmEngine, text: str) -> None:
    tokenizer = engine.tokenizer
    for num_tokens in range(tokenizer.count(text) + 2):
        start, end = tokenizer.keep_start(text, num_tokens), tokenizer.keep_end(text, num_tokens)
        assert text.startswith(start)
        assert text.endswith(end)
        assert tokenizer.count(start) <= num_tokens
        assert tokenizer.count(end) <= num_tokens
    assert start == end == text


async def test_unknown_argument_names_the_nearest(model_folder: str) -> None:
    with pytest.raises(EngineStartError, match=r"max_num_seq is not an argument of vLLM; the nearest is max_num_seqs"):
        await VllmEngine.start(model_folder, args={"max_num_seq": 4})


async def test_memory_that_is_not_there_is_named(model_folder: str) -> None:
    with pytest.raises(EngineStartError, match=r"needs 5\d\d\d\.\d GiB .* lower engine\.kv_cache_gib"):
        await VllmEngine.start(model_folder, kv_cache_gib=5000)


async def test_vllms_own_refusal_is_one_sentence(model_folder: str) -> None:
    with pytest.raises(EngineStartError, match=r"could not start .*max_model_len") as raised:
        await VllmEngine.start(model_folder, max_model_len=10**6)
    assert "\n" not in str(raised.value)


@contextmanager
def _owner(model_folder: str) -> Iterator[subprocess.Popen[str]]:
    """A process that starts an engine, in a process group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serving.owner", model_folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _tell(owner: subprocess.Popen[str], line: str) -> str:
    assert owner.stdin is not None
    assert owner.stdout is not None
    owner.stdin.write(line + "\n")
    owner.stdin.flush()
    return owner.stdout.readline().strip()


def _engine_children(owner: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(owner.pid).children(recursive=True):
        with suppress(psutil.Error):
            if MARKER_VARIABLE in child.environ():
                found.append(child)
    return found


def _assert_all_end(children: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(children, timeout=ORPHAN_DEADLINE_S)
    assert not alive


def test_children_survive_ctrl_c_and_end_with_a_killed_owner(model_folder: str) -> None:
    with _owner(model_folder) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
        children = psutil.Process(owner.pid).children(recursive=True)
        assert len(_engine_children(owner)) >= 2
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.stdout.readline() == "interrupted\n"
        assert _tell(owner, "answer") == "4"
        owner.kill()
        _assert_all_end(children)


def test_a_dead_core_fails_every_request_and_leaves_nothing(model_folder: str) -> None:
    with _owner(model_folder) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
        children = psutil.Process(owner.pid).children(recursive=True)
        assert _tell(owner, "lose-core") == " ".join(["EngineDeadError"] * 5)
        assert owner.stdin is not None
        owner.stdin.close()
        assert owner.stdout.readline() == "closed\n"
        _assert_all_end(children)


def test_an_owner_that_fails_without_closing_exits(model_folder: str) -> None:
    """Without the watchdog's exit handler it would wait for the engine core for ever."""
    with _owner(model_folder) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "started\n"
        children = psutil.Process(owner.pid).children(recursive=True)
        assert _tell(owner, "fail") == ""
        assert owner.wait(timeout=60) == 1
        _assert_all_end(children)


def test_children_end_when_the_owner_is_killed_during_start(model_folder: str) -> None:
    with _owner(model_folder) as owner:
        give_up_at = time.monotonic() + START_DEADLINE_S
        while not (children := _engine_children(owner)):
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        marker = children[0].environ()[MARKER_VARIABLE]
        owner.kill()
        time.sleep(ORPHAN_DEADLINE_S)
        assert not [child for child in psutil.process_iter() if _carries(child, marker)]


def _carries(process: psutil.Process, marker: str) -> bool:
    with suppress(psutil.Error):
        return process.environ().get(MARKER_VARIABLE) == marker
    return False
