"""What must hold before a vLLM engine starts, and why one did not: arguments, environment, memory, failures."""

from __future__ import annotations

import difflib
import json
import os
import re
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil

from serving.types import EngineStartError

GIB = 2**30
ENGINE_OVERHEAD_GIB = 1.5
"""Memory of the engine's two processes beside weights and KV cache."""
BYTES_PER_ELEMENT = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Safetensors' names of the dtypes that vLLM converts to the chosen one; others stay as they are."""

CPU_ARGS: dict[str, Any] = {
    "dtype": "float32",  # bf16 has no kernels on AVX2 and does not gain from batching
    "enforce_eager": True,  # compiling takes 90 s and decodes 10% faster
    "block_size": 32,  # the smallest the CPU kernels take: the prefix cache holds whole blocks only
    "enable_prefix_caching": True,
    # A seeded request whose prompt is split over two steps ends vLLM's CPU worker, and with it the engine
    # ("CPU Generator does not use offset", seen in 0.32). So prompts are never split.
    "enable_chunked_prefill": False,
    "max_num_seqs": 256,  # AsyncLLM takes 128 and LLM 256; a CPU's throughput still rises from one to the other
}
"""Defaults on a CPU; vLLM's own hold on a GPU."""

CPU_BATCHED_TOKENS = 4096
"""Most tokens of one step on a CPU, at least a whole prompt: AsyncLLM takes 2048 and LLM 4096."""

ENVIRONMENT = {
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # forked processes would not carry the watchdog's marker
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Defaults for vLLM's environment; what the user has set wins. vLLM reads some of them when imported."""


def set_environment() -> None:
    """Set vLLM's environment variables where the user has not. Must run before vLLM is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def engine_arguments(
    model: str, args: Mapping[str, Any], *, max_model_len: int | None, kv_cache_gib: float, seed: int, is_cpu: bool
) -> dict[str, Any]:
    """Arguments for vLLM's `AsyncEngineArgs`: ours, then the user's `args` over them.

    Raises:
        EngineStartError: an argument that vLLM does not have, or one that the engine cannot honour.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs

    valid = sorted(field.name for field in fields(AsyncEngineArgs))
    for name in args:
        if name not in valid:
            nearest = difflib.get_close_matches(name.replace("-", "_"), valid, n=1, cutoff=0.0)[0]
            raise EngineStartError(f"engine.args.{name} is not an argument of vLLM; the nearest is {nearest}")
    if args.get("disable_log_stats"):
        raise EngineStartError("engine.args.disable_log_stats=true would leave requests without times; remove it")
    arguments: dict[str, Any] = {
        "model": model,
        "max_model_len": max_model_len,
        "seed": seed,
        "disable_log_stats": False,
        "use_tqdm_on_load": False,
    }
    if is_cpu:
        # VLLM_CPU_KVCACHE_SPACE, whole GiB only, overrides this inside vLLM.
        arguments |= {**CPU_ARGS, "kv_cache_memory_bytes": int(kv_cache_gib * GIB)}
        if max_model_len is not None:
            arguments["max_num_batched_tokens"] = max(CPU_BATCHED_TOKENS, max_model_len)
    return arguments | dict(args)


def check_memory(model: str, arguments: Mapping[str, Any]) -> None:
    """Compare what a CPU engine will take with what is available. A model that is not a local folder passes.

    Raises:
        EngineStartError: it does not fit; names both figures and the fix.
    """
    if not Path(model).is_dir():
        return
    weights_gib = weight_bytes(Path(model), str(arguments["dtype"])) / GIB
    kv_cache_gib = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or (arguments["kv_cache_memory_bytes"] or 0) / GIB)
    needed_gib = weights_gib + kv_cache_gib + ENGINE_OVERHEAD_GIB
    available_gib = psutil.virtual_memory().available / GIB
    if needed_gib > available_gib:
        raise EngineStartError(
            f"the engine needs {needed_gib:.1f} GiB of memory ({weights_gib:.1f} weights, {kv_cache_gib:.1f} KV cache, "
            f"{ENGINE_OVERHEAD_GIB:.1f} overhead) and {available_gib:.1f} GiB is available: "
            "lower engine.kv_cache_gib or choose a smaller model"
        )


def weight_bytes(folder: Path, dtype: str) -> int:
    """Bytes of the model's weights once loaded as `dtype` (a vLLM name; `auto` is the dtype of its files)."""
    total = 0
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as stream:
            (header_length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(header_length))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            start, end = tensor["data_offsets"]
            stored_bytes = FLOAT_BYTES.get(tensor["dtype"])
            scale = BYTES_PER_ELEMENT[dtype] / stored_bytes if stored_bytes and dtype in BYTES_PER_ELEMENT else 1.0
            total += int((end - start) * scale)
    return total


@contextmanager
def error_log() -> Iterator[Path]:
    """A file that gets the errors vLLM's processes log while they start; the parent's exception lacks the cause."""
    if "VLLM_LOGGING_CONFIG_PATH" in os.environ or os.environ.get("VLLM_CONFIGURE_LOGGING") == "0":
        yield Path(os.devnull)
        return
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        errors = Path(folder) / "errors.log"
        handlers: dict[str, dict[str, Any]] = {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "vllm",
                "level": os.environ["VLLM_LOGGING_LEVEL"].upper(),
                "stream": os.environ["VLLM_LOGGING_STREAM"],
            },
            "errors": {"class": "logging.FileHandler", "level": "ERROR", "filename": str(errors)},
        }
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"vllm": {"format": "%(levelname)s %(asctime)s [%(filename)s:%(lineno)d] %(message)s"}},
            "handlers": handlers,
            "loggers": {
                "vllm": {"handlers": list(handlers), "level": handlers["console"]["level"], "propagate": False}
            },
        }
        path = Path(folder) / "logging.json"
        path.write_text(json.dumps(config))
        os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(path)
        try:
            yield errors
        finally:
            os.environ.pop("VLLM_LOGGING_CONFIG_PATH", None)


def start_failure(model: str, error: BaseException, errors: Path) -> EngineStartError:
    """One sentence for an engine that did not start: the first cause its processes logged, else `error`'s own."""
    cause = first_cause(errors.read_text(errors="replace")) or first_line(error)
    return EngineStartError(f"vLLM could not start {model!r}: {cause}")


def first_cause(log: str) -> str | None:
    """Message of the first exception in a log of tracebacks; the later ones only report it."""
    match = re.search(r"^(?:[\w.]*(?:Error|Exception|Interrupt|Exit)): (.+)$", log, re.MULTILINE)
    return match.group(1).strip() if match else None


def first_line(error: BaseException) -> str:
    """The error's message up to its first line break; pydantic puts what matters on the third line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 2 and "validation error" in lines[0]:
        return re.sub(r"\s*\[type=.*", "", lines[-2] if lines[-1].startswith("For further") else lines[-1])
    return lines[0] if lines else type(error).__name__


def start_resource_tracker() -> None:
    """Start multiprocessing's tracker now: starting it later would unblock SIGINT, which must stay blocked."""
    from multiprocessing import resource_tracker

    if sys.platform != "win32":
        resource_tracker.ensure_running()
