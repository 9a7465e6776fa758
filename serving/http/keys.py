"""API keys: every path but those that tell health and the page wants one, if there are any."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http import page
from serving.http.errors import ApiError

OPEN_PATHS = frozenset({"/health", "/ready"}) | page.PATHS
"""Health, and the page's files: those are the same on every server, and a browser asks for them before it has a key."""


class Keys:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        """Guard `app`; without keys everything is open."""
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or answer 401."""
        if scope["type"] == "lifespan" or not self._digests or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        scheme, _, key = Headers(scope=scope).get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_known(key.strip()):
            await self._app(scope, receive, send)
            return
        error = ApiError(
            401,
            "no valid API key was given: send 'Authorization: Bearer KEY'",
            type="authentication_error",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await Response(error.json(), 401, error.headers, "application/json")(scope, receive, send)

    def _is_known(self, key: str) -> bool:
        """Digests have one length and all are compared, so that the time tells nothing."""
        given = _digest(key.encode("latin-1", "replace"))
        return any([hmac.compare_digest(given, known) for known in self._digests])


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
