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
    """An answer other than 200. status: HTTP's; code, param: as OpenAI's `error` object has them.

    retry_after_s: of a 503, when to ask again. more: what else the error object says.
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


def fault(
    message: str, *, code: str | None = None, param: str | None = None, kind: str = "invalid_request_error"
) -> dict[str, Any]:
    """OpenAI's error object, as the body of an answer."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def ready(host: Runtime) -> Engines:
    """The engines. Raises ApiError 503 while there are none."""
    if host.draining:
        raise ApiError(503, "The server is about to stop or restart. Try again in a few seconds.", "draining")
    if host.engines is not None:
        return host.engines
    if host.stage == "failed":
        raise ApiError(503, f"The server cannot work: {host.error}", "not_ready")
    raise ApiError(503, f"The server is still {host.doing}. Try again in a moment.", "not_ready")


def invalid(message: str, param: str, code: str = "invalid_value") -> ApiError:
    """400: a value that cannot be used."""
    return ApiError(400, message, code, param)


def install(app: FastAPI) -> None:
    """Have every error under /v1 told in OpenAI's shape."""
    app.add_exception_handler(ApiError, _told)
    app.add_exception_handler(ChinwagError, _failed)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


def answer(error: ApiError) -> Response:
    """The error as a response."""
    headers = {"Retry-After": str(error.retry_after_s)} if error.status == 503 else None
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    told = fault(error.message, code=error.code, param=error.param, kind=kind)
    told["error"].update(error.more)
    return JSONResponse(told, error.status, headers=headers)


def explained(error: Exception) -> ApiError:
    """Whatever went wrong, as it is told."""
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
    log.error("a request broke off", exc_info=error)
    return ApiError(500, "The server failed. Its log tells more.", "internal_error")


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer(error)


async def _failed(request: Request, error: Exception) -> Response:
    told = explained(error)
    if told.status >= 500:
        request.app.state.metrics.failed(getattr(error, "engine", ""), "request_failed")
    return answer(told)


async def _unforeseen(_: Request, error: Exception) -> Response:
    return answer(ApiError(500, "The server failed. Its log tells more.", "internal_error"))


async def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return answer(ApiError(400, "The body is not valid JSON.", "invalid_json"))
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_type"
    return answer(ApiError(400, f"Invalid value for '{param or 'body'}': {first['msg']}.", code, param))


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = answer(ApiError(error.status_code, str(error.detail)))
    told.headers.update(error.headers or {})
    return told
