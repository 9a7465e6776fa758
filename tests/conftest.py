"""Fixtures for every folder of tests: one real engine for the whole session.

A test that needs the real engine carries the marker and takes the fixture; it then runs on the session's event
loop, which is the engine's:

    @pytest.mark.engine
    async def test_something(engine: VllmEngine) -> None:
        completion = await engine.generate(request)

The engine is shared, so a test must neither close it nor leave requests in it. `-m "not engine"` needs no model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import settings

from serving.models import PACKAGED_MODEL, resolve_model
from serving.vllm_engine import VllmEngine

# A busy machine is no failure: what a test measures of time, it measures itself.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the engine's async tests on the session's loop."""
    for item in items:
        if item.get_closest_marker("engine") is not None and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def model_folder() -> str:
    """Folder of the packaged model."""
    return str(resolve_model(PACKAGED_MODEL))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(model_folder: str) -> AsyncIterator[VllmEngine]:
    """The session's engine: 2048 tokens a request, 1 GiB of KV cache (46,000 tokens)."""
    engine = await VllmEngine.start(model_folder, max_model_len=2048, kv_cache_gib=1.0)
    yield engine
    await engine.close()
