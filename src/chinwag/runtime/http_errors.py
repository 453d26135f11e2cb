"""Errors of the HTTP routes in OpenAI's shape."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chinwag.engines.protocols import Engines
from chinwag.errors import ChinwagError, PromptTooLong, Refused, StoreError
from chinwag.runtime.runtime import Runtime

RETRY_AFTER_S = 5

log = logging.getLogger(__name__)


class ApiError(Exception):
    """An HTTP error response. code, param: fields of OpenAI's `error` object; more: its further fields.

    retry_after_s: the Retry-After header of a 503.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        *,
        retry_after_s: int = RETRY_AFTER_S,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after_s, self.more = retry_after_s, more or {}


def error_body(
    message: str, *, code: str | None = None, param: str | None = None, kind: str = "invalid_request_error"
) -> dict[str, Any]:
    """Return a response body with OpenAI's error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def require_engines(runtime: Runtime) -> Engines:
    """Return the engines. Raises ApiError 503 if the server is not ready or drains."""
    if unavailable := runtime.unavailable:
        code, message = unavailable
        raise ApiError(503, message, code)
    assert runtime.engines is not None
    return runtime.engines


def invalid_value(message: str, param: str, code: str = "invalid_value") -> ApiError:
    """Return a 400 error for a value that cannot be used."""
    return ApiError(400, message, code, param)


def install_error_handlers(app: FastAPI) -> None:
    """Answer all errors of the application's routes in OpenAI's shape."""
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(ChinwagError, _on_chinwag_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_exception)


def error_response(error: ApiError) -> Response:
    """Convert an error to a response."""
    headers = {"Retry-After": str(error.retry_after_s)} if error.status == 503 else None
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    body = error_body(error.message, code=error.code, param=error.param, kind=kind)
    body["error"].update(error.more)
    return JSONResponse(body, error.status, headers=headers)


def to_api_error(error: Exception) -> ApiError:
    """Convert any exception to an error for the client; log it if it is not one of ours."""
    match error:
        case ApiError():
            return error
        case Refused():
            return ApiError(400, str(error), error.code, error.param)
        case PromptTooLong():
            return ApiError(400, str(error), "context_length_exceeded", "messages")
        case StoreError():
            return ApiError(503, str(error), "store_unavailable")
        case ChinwagError():
            return ApiError(500, str(error), "engine_error")
    log.error("A request failed.", exc_info=error)
    return ApiError(500, "The server failed. Its log says more.", "internal_error")


async def _on_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


async def _on_chinwag_error(request: Request, error: Exception) -> Response:
    api_error = to_api_error(error)
    if api_error.status >= 500:
        request.app.state.metrics.count_error(getattr(error, "engine", ""), "request_failed")
    return error_response(api_error)


async def _on_exception(_: Request, error: Exception) -> Response:
    return error_response(ApiError(500, "The server failed. Its log says more.", "internal_error"))


async def _on_validation_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return error_response(ApiError(400, "The body is not valid JSON.", "invalid_json"))
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_type"
    return error_response(ApiError(400, f"Invalid value for '{param or 'body'}': {first['msg']}.", code, param))


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = error_response(ApiError(error.status_code, str(error.detail)))
    response.headers.update(error.headers or {})
    return response
