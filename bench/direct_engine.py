"""The same requests without an executor: all of them handed to vLLM's own `LLM.generate` in one call."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

from bench.recording_engine import RecordingEngine
from bench.served import Served
from bench.vllm_arguments import vllm_arguments
from lamas_local.config import Config
from lamas_local.engine_config import VllmEngineConfig
from lamas_local.engines import start_engine
from serving.chat_tokenizer import ChatTokenizer
from serving.types import GenerationRequest
from serving.vllm_engine import sampling_params
from serving.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Recorded:
    """What an executor sent while it warmed up, and while it was measured."""

    warm_up: tuple[GenerationRequest, ...]
    measured: tuple[GenerationRequest, ...]


@dataclass(frozen=True, slots=True)
class Direct:
    """One direct pass, and the limits vLLM set itself: its defaults for `LLM` are not those for `AsyncLLM`."""

    name: str
    """What made the pass."""
    served: Served
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    executor_max_num_seqs: int | None = None
    executor_max_num_batched_tokens: int | None = None


def run_direct(config: Config, recorded: Recorded) -> Direct:
    """Start an engine, warm it up, send everything at once, end it. A fake engine has no `LLM` and is asked itself."""
    if not isinstance(config.engine, VllmEngineConfig):
        return asyncio.run(_ask_engine(config, recorded))
    # In a process of its own, as the executor's engine is gone by then but what it left in this one is not.
    watchdog = Watchdog()
    try:
        with (
            watchdog.marked(),
            ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool,
        ):
            direct = pool.submit(_generate_all, config.engine, recorded).result()
            watchdog.close()  # LLM has no `close`, and its process would wait for the engine core for ever
            return direct
    finally:
        watchdog.close()


async def _ask_engine(config: Config, recorded: Recorded) -> Direct:
    engine = await start_engine(config)
    try:
        await asyncio.gather(*(engine.generate(request) for request in recorded.warm_up))
        recording = RecordingEngine(engine)
        started = time.monotonic()
        await asyncio.gather(*(recording.generate(request) for request in recorded.measured))
        return Direct("the fake engine itself", recording.served(time.monotonic() - started))
    finally:
        await engine.close()


def _generate_all(engine: VllmEngineConfig, recorded: Recorded) -> Direct:
    """In the child: the engine arguments of `VllmEngine`, the prompts as tokens, one sampling parameter set each."""
    arguments = vllm_arguments(engine)
    from vllm import LLM
    from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs

    known = {field.name for field in fields(EngineArgs)}  # AsyncEngineArgs has one more, about logging
    llm = LLM(**{name: value for name, value in arguments.items() if name in known})
    tokenizer = ChatTokenizer(llm.get_tokenizer())
    _generate(llm, tokenizer, recorded.warm_up)
    served = _generate(llm, tokenizer, recorded.measured)
    ours = AsyncEngineArgs(**arguments).create_engine_config().scheduler_config
    theirs = llm.llm_engine.vllm_config.scheduler_config
    return Direct(
        "LLM.generate",
        served,
        theirs.max_num_seqs,
        theirs.max_num_batched_tokens,
        ours.max_num_seqs,
        ours.max_num_batched_tokens,
    )


def _generate(llm: Any, tokenizer: ChatTokenizer, requests: Sequence[GenerationRequest]) -> Served:
    """One call of `LLM.generate`; making the prompts' tokens is not measured, which is to its advantage."""
    prompts = [{"prompt_token_ids": list(tokenizer.chat_tokens(request.messages))} for request in requests]
    parameters = [sampling_params(request) for request in requests]
    started = time.monotonic()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.monotonic() - started
    return Served(
        seconds=seconds,
        num_requests=len(outputs),
        num_prompt_tokens=sum(len(output.prompt_token_ids) for output in outputs),
        num_cached_tokens=sum(output.num_cached_tokens or 0 for output in outputs),
        num_output_tokens=sum(len(output.outputs[0].token_ids) for output in outputs),
        running=tuple((output.metrics.scheduled_ts, output.metrics.last_token_ts) for output in outputs),
    )
