"""Makes requests for the tests of engines."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from serving.types import GenerationRequest, Message

RequestFactory = Callable[..., GenerationRequest]


@pytest.fixture
def make_request() -> RequestFactory:
    """Requests with ids of their own; each argument has a default."""
    ids = count()

    def make(
        content: str = "What is 3 plus 4?",
        *,
        max_tokens: int = 16,
        temperature: float = 0.7,
        seed: int | None = 0,
        choices: tuple[str, ...] | None = None,
    ) -> GenerationRequest:
        return GenerationRequest(
            request_id=f"request-{next(ids)}",
            messages=(Message("system", "You solve word problems."), Message("user", content)),
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            choices=choices,
        )

    return make
