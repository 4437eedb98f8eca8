"""What the service answers when it does not do what was asked."""

from __future__ import annotations

import math
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from edge_inspector.errors import ConfigError, OutputError, StorageError

log = structlog.get_logger()
_MEANING = {
    401: "No token, or one that is wrong, removed or expired.",
    403: "The token's role may not do this, or another web site asked for it.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    409: "The station does not do this now; `error` says why.",
    410: "The picture was removed when its time was over.",
    413: "The body or the picture in it is too large.",
    415: "The picture's format is not one that is taken, or cannot be shown.",
    422: "A parameter is not what was expected.",
    429: "Too many requests; Retry-After says when to ask again.",
    500: "A file of the station is not what the ledger says.",
    503: "The station or its ledger is away, or busy; Retry-After says when to ask again.",
}
AWAY_RETRY_S = 2.0
_LATER = {"Retry-After": str(math.ceil(AWAY_RETRY_S))}


class Problem(BaseModel):
    """The body of every answer that is not what was asked for."""

    status: int = Field(description="The HTTP status again.")
    error: str = Field(description="What was wrong, what was expected and what to do, for people.")


class Refused(HTTPException):
    """Ends a request with this status; FastAPI lets it through where it would wrap another exception."""

    def __init__(
        self, status: int, error: str, *, retry_after_s: float | None = None, headers: dict[str, str] | None = None
    ) -> None:
        wait = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
        super().__init__(status, error, {**wait, **(headers or {})})


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these, and what may happen to any request with a token."""
    every = sorted({401, 403, 422, 429, 503, *statuses})
    return {status: {"model": Problem, "description": _MEANING[status]} for status in every}


def answer(status: int, error: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(Problem(status=status, error=error).model_dump(), status, headers)


def install(app: FastAPI) -> None:
    """Every failure that was foreseen becomes a `Problem`; any other is a bug: 500, and its traceback in the log."""

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, exc: HTTPException) -> JSONResponse:
        status = 422 if exc.status_code == 400 else exc.status_code  # 400: FastAPI could not even parse the body
        return answer(status, exc.detail, dict(exc.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, exc: RequestValidationError) -> JSONResponse:
        found = [f"{'.'.join(str(part) for part in e['loc'][1:]) or e['loc'][0]}: {e['msg']}" for e in exc.errors()]
        return answer(422, "; ".join(found))

    @app.exception_handler(OutputError)
    @app.exception_handler(StorageError)
    async def away(_request: Request, exc: Exception) -> JSONResponse:
        return answer(503, str(exc), _LATER)

    @app.exception_handler(ConfigError)
    async def no_tokens(_request: Request, exc: Exception) -> JSONResponse:
        """Nobody is let in; and as nobody knows who asks, they are told no more."""
        log.error("tokens_not_read", error=str(exc))
        return answer(503, "the tokens cannot be read; the log of the web service says why", _LATER)
