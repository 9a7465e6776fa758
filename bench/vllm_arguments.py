"""What `VllmEngine.start` gives vLLM, for vLLM's own front ends."""

from __future__ import annotations

from typing import Any

from lamas_local.engine_config import VllmEngineConfig
from serving import vllm_startup
from serving.models import resolve_model


def vllm_arguments(engine: VllmEngineConfig) -> dict[str, Any]:
    """Arguments of vLLM's `AsyncEngineArgs`, by name; sets its environment, which processes started later inherit."""
    vllm_startup.set_environment()
    from vllm.platforms import current_platform

    return vllm_startup.engine_arguments(
        str(resolve_model(engine.model)),
        engine.args,
        max_model_len=engine.max_model_len,
        kv_cache_gib=engine.kv_cache_gib,
        seed=0,
        is_cpu=current_platform.is_cpu(),
    )
