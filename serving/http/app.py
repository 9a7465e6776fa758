"""The paths of the server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, TextIO

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from serving.http import page
from serving.http.chat import ChatService
from serving.http.chat_model import Backend
from serving.http.door import Door
from serving.http.errors import ApiError, unavailable
from serving.http.keys import Keys
from serving.http.metrics import CONTENT_TYPE, QueryMetrics, exposition
from serving.http.openapi import chat_operation, describe, error_responses
from serving.http.query_log import QueryLog
from serving.http.request_ids import RequestIds
from serving.http.schema import ChatRequest
from serving.http.settings import ServerSettings
from serving.http.supervisor import Supervisor


def new_service(
    settings: ServerSettings,
    open_backend: Callable[[], Awaitable[Backend]],
    registry: CollectorRegistry,
    request_type: type[ChatRequest] = ChatRequest,
    log_stream: TextIO | None = None,
) -> ChatService:
    """Put together what answers chats; nothing is started.

    Args:
        settings: limits.
        open_backend: starts an engine and the models on it; called again after each death.
        registry: where metrics are registered.
        request_type: the body of chat requests, `ChatRequest` with whatever fields the models add.
        log_stream: gets a line a query; standard output when absent.
    """
    door = Door(settings.max_in_flight, settings.max_queued, settings.queries_per_s)
    metrics = QueryMetrics(registry, door)
    log = QueryLog(log_stream, on_lost=metrics.lost_log_lines.inc)
    return ChatService(settings, request_type, door, Supervisor(open_backend, metrics, log), metrics, log)


def new_app(service: ChatService, registry: CollectorRegistry) -> FastAPI:
    """All paths, without keys and request ids, which `guarded` puts around them."""
    # No /docs: its page comes from somebody else's server.
    app = FastAPI(title="lamas-local", docs_url=None, redoc_url=None)
    started = int(time.time())

    @app.exception_handler(ApiError)
    async def on_api_error(request: Request, error: ApiError) -> Response:
        return Response(error.json(), error.status, error.headers, "application/json")

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
        shaped = ApiError(error.status_code, str(error.detail), code=code, headers=error.headers)
        return await on_api_error(request, shaped)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        return await on_api_error(request, ApiError(500, "internal error", type="server_error", code="internal_error"))

    @app.get("/health", summary="Whether the server is alive")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready", summary="Whether queries are answered", responses={503: {"description": "Not now"}})
    async def ready() -> dict[str, str]:
        if service.supervisor.state != "ready":
            raise unavailable(f"not ready: {service.supervisor.state}", service.supervisor.state)
        return {"status": "ready"}

    @app.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def metrics() -> Response:
        return Response(exposition(registry), media_type=CONTENT_TYPE)

    def model_object(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "lamas-local"}

    @app.get("/v1/models", summary="The models", responses=error_responses(401, 503))
    async def models() -> dict[str, Any]:
        service.supervisor.check_open()
        return {"object": "list", "data": [model_object(name) for name in service.supervisor.backend.models]}

    @app.get("/v1/models/{name:path}", summary="One model", responses=error_responses(401, 404, 503))
    async def model(name: str) -> dict[str, Any]:
        service.supervisor.check_open()
        if name not in service.supervisor.backend.models:
            raise ApiError(404, f"model: {name!r} does not exist", param="model", code="model_not_found")
        return model_object(name)

    @app.post("/v1/chat/completions", response_class=JSONResponse, **chat_operation(service.request_type))
    async def chat_completions(request: Request) -> Response:
        return await service.handle(request)

    app.include_router(page.router)
    describe(app, service.request_type)
    return app


def guarded(app: ASGIApp, settings: ServerSettings) -> ASGIApp:
    """`app` behind its keys, every response with its request's id."""
    return RequestIds(Keys(app, settings.api_keys))
