"""What `/openapi.json` says of the chat path: its body is read by hand, so FastAPI does not see its schema."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from serving.http.schema import ChatRequest

COMPONENT = "#/components/schemas/{model}"
ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
ERRORS = {
    400: "The request cannot be",
    401: "No valid key",
    404: "No such model",
    408: "The body took too long",
    413: "The body is too large",
    429: "Too many queries wait; see Retry-After",
    500: "A failure of the server or the engine",
    503: "No engine now, or the server ends; see Retry-After",
    504: "The query took too long",
}


def chat_operation(request_type: type[ChatRequest]) -> dict[str, Any]:
    """Keyword arguments of the route."""
    body = {"schema": {"$ref": COMPONENT.format(model=request_type.__name__)}}
    answer = {"description": "The answer", "content": {"application/json": {}, "text/event-stream": {}}}
    return {
        "summary": "Answer a chat",
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": body}}},
        "responses": {200: answer} | error_responses(*ERRORS),
    }


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` for these of `ERRORS`."""
    error = {"application/json": {"schema": {"$ref": COMPONENT.format(model="Error")}}}
    return {status: {"description": ERRORS[status], "content": error} for status in statuses}


def describe(app: FastAPI, request_type: type[ChatRequest]) -> None:
    """Add the schemas that `chat_operation` names."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = request_type.model_json_schema(ref_template=COMPONENT)
            document = generate()
            components = document.setdefault("components", {}).setdefault("schemas", {})
            components |= {**schema.pop("$defs", {}), request_type.__name__: schema, "Error": ERROR}
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
