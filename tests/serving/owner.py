"""A process that owns an engine, to be killed by the tests: `python -m tests.serving.owner MODEL`.

Prints `started`, then obeys a line on its standard input: `answer` prints one answer's token count; `lose-core`
kills the engine core under four requests and prints what became of each, and of one more; `fail` raises.
Ctrl-C prints `interrupted` and nothing else.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import psutil

from serving.types import Completion, GenerationRequest, Message
from serving.vllm_engine import VllmEngine


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: print("interrupted", flush=True))
    engine = await VllmEngine.start(sys.argv[1], max_model_len=2048, kv_cache_gib=0.25)
    print("started", flush=True)

    async def ask(name: str, max_tokens: int) -> Completion:
        return await engine.generate(GenerationRequest(name, (Message("user", f"Count, {name}."),), max_tokens, 1.0))

    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line.strip() == "answer":
            print((await ask("once", 4)).num_output_tokens, flush=True)
        elif line.strip() == "fail":
            raise RuntimeError("told to fail")
        else:
            (core,) = [child for child in psutil.Process().children() if child.name() == "VLLM::EngineCore"]
            core.suspend()  # so that no answer, however short, is complete before the end
            asked = [asyncio.ensure_future(ask(f"lost-{number}", 1500)) for number in range(4)]
            await asyncio.sleep(1)
            core.kill()
            results = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), timeout=30)
            results += await asyncio.gather(ask("later", 4), return_exceptions=True)
            print(*(type(result).__name__ for result in results), flush=True)
    await engine.close()
    print("closed", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
