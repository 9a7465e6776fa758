"""The in-process engine: vLLM's `AsyncLLM`, on CUDA or on a CPU."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

from serving import vllm_startup
from serving.chat_tokenizer import ChatTokenizer
from serving.types import (
    Completion,
    EngineDeadError,
    EngineError,
    EngineStartError,
    GenerationRequest,
    Message,
    RequestRefusedError,
    RequestTiming,
)
from serving.watchdog import Watchdog

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

_one_start_at_a_time = threading.Lock()
"""Starting sets the process's environment, which two engines must not do at once."""


class VllmEngine:
    """Completes chats on a vLLM engine in child processes that end with this one, however it ends.

    vLLM starts its processes by `spawn`, which imports the main script again: a script that starts an engine
    needs the usual `if __name__ == "__main__":`.
    """

    def __init__(self, llm: AsyncLLM, watchdog: Watchdog, tokenizer: ChatTokenizer) -> None:
        """Use `VllmEngine.start`."""
        self._llm = llm
        self._watchdog = watchdog
        self._tokenizer = tokenizer
        self._max_model_len = int(llm.model_config.max_model_len)
        self._is_closed = False

    @classmethod
    async def start(
        cls,
        model: str,
        *,
        args: Mapping[str, Any] | None = None,
        max_model_len: int | None = None,
        kv_cache_gib: float = 2.0,
        seed: int = 0,
    ) -> VllmEngine:
        """Start the engine's processes, load the model, and answer one request (about 25 s on a CPU).

        Args:
            model: local folder or hub id.
            args: further arguments of vLLM's `AsyncEngineArgs`, by its names; these win over our defaults.
            max_model_len: longest prompt plus output in tokens; the model's own limit when absent.
            kv_cache_gib: memory for keys and values on a CPU, in GiB; a GPU uses `gpu_memory_utilization`.
            seed: seeds requests that carry none.

        Raises:
            EngineStartError: it cannot start with what was asked for.
        """
        try:
            watchdog = Watchdog()
        except OSError as error:
            raise EngineStartError(str(error)) from error
        building = asyncio.ensure_future(
            asyncio.to_thread(
                _build, watchdog, model, args or {}, max_model_len=max_model_len, kv_cache_gib=kv_cache_gib, seed=seed
            )
        )
        try:
            llm = await asyncio.shield(building)
            tokenizer = llm.get_tokenizer()
            if not tokenizer.chat_template:
                raise EngineStartError(f"{model!r} has no chat template: choose an instruct model")
            engine = cls(llm, watchdog, ChatTokenizer(tokenizer))
            # Compiles what the first request compiles, and proves that the engine answers.
            await engine.generate(GenerationRequest("warm-up", (Message("user", "Hello"),), 1, 0.0, seed=0))
        except BaseException:
            # Without its processes the thread that builds fails at once, so that it can be waited for.
            await asyncio.to_thread(watchdog.close)
            await asyncio.wait({building})
            if not building.cancelled() and building.exception() is None:
                await asyncio.to_thread(building.result().shutdown)
            raise
        return engine

    @property
    def max_model_len(self) -> int:
        """Longest prompt plus output, in tokens."""
        return self._max_model_len

    @property
    def tokenizer(self) -> ChatTokenizer:
        """The model's own tokenizer."""
        return self._tokenizer

    def count_chat_tokens(self, messages: Sequence[Message]) -> int:
        """Number of prompt tokens the model sees for `messages`, chat template included."""
        return self._tokenizer.count_chat(messages)

    async def generate(self, request: GenerationRequest) -> Completion:
        """Complete one request. Cancelling the awaiting task aborts it in the engine.

        Raises:
            EngineError: the request cannot be served, for example because it is too long.
            EngineDeadError: the engine has died or was closed; every later request fails alike.
        """
        submitted = time.monotonic()
        async with aclosing(self._outputs(request, is_streamed=False)) as outputs:
            output = [output async for output in outputs][-1]  # the only one
        return _completion(request, output, submitted, time.monotonic())

    @property
    def is_dead(self) -> bool:
        """Whether the engine core has ended, or the engine was closed."""
        return self._is_closed or bool(self._llm.errored)

    @property
    def num_unfinished(self) -> int:
        """Requests that the engine has not finished."""
        return int(self._llm.get_num_unfinished_requests())

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | Completion, None]:
        """The text in pieces as it is made, then the completion. Closing the generator aborts the request.

        Raises:
            EngineError: as `generate`.
        """
        submitted = time.monotonic()
        text, num_tokens, output = "", 0, None
        async with aclosing(self._outputs(request, is_streamed=True)) as outputs:
            async for output in outputs:
                sample = output.outputs[0]
                text, num_tokens = text + sample.text, num_tokens + len(sample.token_ids)
                if sample.text:
                    yield sample.text
        if output is None:
            raise EngineError("vLLM ended the request without an answer")
        # The last output holds the last piece only.
        yield _completion(request, output, submitted, time.monotonic(), text, num_tokens)

    async def _outputs(self, request: GenerationRequest, *, is_streamed: bool) -> AsyncGenerator[RequestOutput, None]:
        """vLLM's own outputs, and its errors as ours."""
        from vllm.inputs.engine import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError as VllmEngineDeadError
        from vllm.v1.engine.exceptions import EngineGenerateError

        if self._is_closed:
            raise EngineDeadError("the engine is closed")
        prompt_tokens = self._tokenizer.chat_tokens(request.messages)
        if len(prompt_tokens) + request.max_tokens > self._max_model_len:
            raise RequestRefusedError(
                f"the prompt has {len(prompt_tokens)} tokens and max_tokens is {request.max_tokens}: together more "
                f"than the model's {self._max_model_len}; shorten the prompt or lower max_tokens"
            )
        try:
            prompt, parameters = tokens_input(list(prompt_tokens)), sampling_params(request, is_streamed=is_streamed)
            # Closed with this generator: only that aborts the request in the engine.
            async with aclosing(self._llm.generate(prompt, parameters, request.request_id)) as outputs:
                async for output in outputs:
                    yield output
        except VllmEngineDeadError as error:
            raise EngineDeadError("the engine is closed" if self._is_closed else "the engine has died") from error
        except EngineGenerateError as error:
            raise EngineError(f"vLLM failed the request: {error.__cause__ or error}") from error
        except Exception as error:  # vLLM's validation raises its own errors, ValueError and TypeError
            raise RequestRefusedError(f"vLLM refused the request: {error}") from error

    async def close(self) -> None:
        """End the engine and every process it owns; requests in flight fail with `EngineDeadError`. Idempotent."""
        from vllm.v1.engine.exceptions import EngineDeadError as VllmEngineDeadError

        if not self._is_closed:
            self._is_closed = True
            # vLLM's shutdown leaves waiting requests waiting.
            self._llm.output_processor.propagate_error(VllmEngineDeadError())
            if self._llm.output_handler is not None:
                self._llm.output_handler.cancel()  # it would log the core's end as a failure
        # Both at once: vLLM's shutdown ends the core, which waits 5 s for workers that only the watchdog ends.
        await asyncio.gather(asyncio.to_thread(self._llm.shutdown), asyncio.to_thread(self._watchdog.close))
        # AsyncLLM.__del__ shuts down once more, and fails when the interpreter has let go of its modules.
        self._llm.shutdown = lambda timeout=None: None


def _build(
    watchdog: Watchdog,
    model: str,
    args: Mapping[str, Any],
    *,
    max_model_len: int | None,
    kv_cache_gib: float,
    seed: int,
) -> AsyncLLM:
    """Start vLLM; blocks for as long as that takes."""
    vllm_startup.set_environment()
    with _one_start_at_a_time, vllm_startup.error_log() as errors:
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise EngineStartError(f"vLLM cannot be imported ({error}): install the extra [cpu] or [gpu]") from error

        is_cpu = current_platform.is_cpu()
        arguments = vllm_startup.engine_arguments(
            model, args, max_model_len=max_model_len, kv_cache_gib=kv_cache_gib, seed=seed, is_cpu=is_cpu
        )
        if is_cpu:
            vllm_startup.check_memory(model, arguments)
        vllm_startup.start_resource_tracker()
        try:
            with watchdog.marked(), _sigint_blocked():
                return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
        except Exception as error:
            raise vllm_startup.start_failure(model, error, errors) from error


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT in this thread; processes started inside inherit that, so Ctrl-C reaches only their owner."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def sampling_params(request: GenerationRequest, *, is_streamed: bool = False) -> SamplingParams:
    """A request in vLLM's own terms."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        stop=list(request.stop),
        structured_outputs=StructuredOutputsParams(choice=list(request.choices)) if request.choices else None,
        # One event at the end instead of one a token.
        output_kind=RequestOutputKind.DELTA if is_streamed else RequestOutputKind.FINAL_ONLY,
    )


def _completion(
    request: GenerationRequest,
    output: RequestOutput,
    submitted: float,
    returned: float,
    text: str | None = None,
    num_output_tokens: int | None = None,
) -> Completion:
    """The completion of a finished request; the stamps between the caller's two are the engine core's.

    `text` and `num_output_tokens` are the whole's, where `output` is only the last piece.
    """
    sample = output.outputs[0]
    text = sample.text if text is None else text
    if sample.finish_reason not in ("stop", "length"):
        raise EngineError(f"vLLM ended the request early (finish reason {sample.finish_reason!r})")
    if request.choices and text not in request.choices:
        raise EngineError(f"max_tokens={request.max_tokens} is too few for the choices {request.choices}")
    assert output.metrics is not None
    assert output.prompt_token_ids is not None
    return Completion(
        text=text,
        num_prompt_tokens=len(output.prompt_token_ids),
        num_cached_tokens=output.num_cached_tokens or 0,
        num_output_tokens=len(sample.token_ids) if num_output_tokens is None else num_output_tokens,
        finish_reason=sample.finish_reason,
        timing=RequestTiming(
            submitted=submitted,
            queued=output.metrics.queued_ts,
            scheduled=output.metrics.scheduled_ts,
            first_token=output.metrics.first_token_ts,
            last_token=output.metrics.last_token_ts,
            returned=returned,
        ),
    )
