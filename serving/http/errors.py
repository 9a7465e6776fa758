"""What a client is told when something is wrong: OpenAI's error object, with its status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from serving.types import EngineDeadError, EngineError, RequestTimeoutError

ErrorType = Literal[
    "invalid_request_error", "authentication_error", "rate_limit_error", "server_error", "service_unavailable"
]
RETRY_AFTER_RESTART_S = 5
"""What a client is told to wait where nothing says when the engine will be there."""


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: ErrorType = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say what is wrong.

        Args:
            status: of the HTTP response.
            message: one sentence for a person.
            type: OpenAI's class of error.
            param: the field of the request that is to blame.
            code: for programs.
            headers: of the response.
        """
        super().__init__(message)
        self.status, self.message, self.type, self.param, self.code = status, message, type, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The response's JSON."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def json(self) -> bytes:
        """The response's body."""
        return json.dumps(self.body()).encode()


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """The request cannot be: status 400."""
    return ApiError(400, message, param=param, code=code)


def unavailable(message: str, code: str, retry_after_s: int = RETRY_AFTER_RESTART_S) -> ApiError:
    """There is nothing to answer with now: status 503."""
    headers = {"Retry-After": str(retry_after_s)}
    return ApiError(503, message, type="service_unavailable", code=code, headers=headers)


def of_validation(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a body."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    code = "invalid_json" if first["type"] == "json_invalid" else "invalid_value"
    return invalid(f"{param}: {first['msg']}" if param else first["msg"], param, code)


def of_engine(error: EngineError) -> ApiError:
    """A failure of the engine, as a client sees it."""
    if isinstance(error, EngineDeadError):
        return unavailable("the engine stopped and is being restarted; try again", "engine_restarting")
    if isinstance(error, RequestTimeoutError):
        return ApiError(504, str(error), type="server_error", code="timeout")
    return ApiError(500, str(error), type="server_error", code="engine_error")
