"""Failures: what the REST interface answers where something is wrong, with the status that fits its code.

The codes are those of ``timeline_workers.errors``, and the few that only a web server has. The body says what
a TimelineError says: the code, the message, the hint, and for an expression the span of the mistake in it.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from timeline_workers.errors import Code, ExpressionError, MetricError, TimelineError


class WebCode(StrEnum):
    """What only a web server refuses."""

    NO_TOKEN = "no-token"
    FOREIGN_ORIGIN = "foreign-origin"
    READ_ONLY = "read-only"
    NO_HISTORY = "no-history"  # there is no history store to ask
    NOT_FOUND = "not-found"  # no such address
    WRONG_METHOD = "wrong-method"
    TOO_LARGE = "too-large"


class Failure(BaseModel):
    """What was wrong. ``field``: of the request; ``hint``: the nearest known name, or what else may help;
    ``span``: the half-open range of characters of the mistake in the expression; ``line`` and ``column``: of
    the metric file that was sent, from 1, where they can be told.
    """

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    hint: str | None = None
    field: str | None = None
    span: tuple[int, int] | None = None
    line: int | None = None
    column: int | None = None


_STATUS: Final[dict[str, HTTPStatus]] = {
    Code.WRONG_EXPRESSION: HTTPStatus.BAD_REQUEST,
    Code.WRONG_METRIC: HTTPStatus.BAD_REQUEST,
    Code.WRONG_QUESTION: HTTPStatus.BAD_REQUEST,
    Code.BAD_EVENT: HTTPStatus.BAD_REQUEST,
    Code.AMBIGUOUS_NODE: HTTPStatus.BAD_REQUEST,
    Code.TOO_LARGE: HTTPStatus.BAD_REQUEST,
    Code.UNKNOWN_NAME: HTTPStatus.NOT_FOUND,
    Code.UNKNOWN_KEY: HTTPStatus.NOT_FOUND,
    Code.UNKNOWN_NODE: HTTPStatus.NOT_FOUND,
    Code.UNKNOWN_METRIC: HTTPStatus.NOT_FOUND,
    Code.UNKNOWN_SOURCE: HTTPStatus.NOT_FOUND,
    Code.UNKNOWN_TARGET: HTTPStatus.NOT_FOUND,
    Code.KEY_MAY_HAVE_LEFT: HTTPStatus.NOT_FOUND,
    Code.KEY_NOT_IN_ARCHIVE: HTTPStatus.NOT_FOUND,
    Code.NOT_KEPT: HTTPStatus.GONE,
    Code.SOURCE_IN_USE: HTTPStatus.CONFLICT,
    Code.SUPERSEDED: HTTPStatus.CONFLICT,
    Code.NOT_RUNNING: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.NOT_READY: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.CANNOT_ANSWER: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.UNREACHABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.STORE_DOWN: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.WRONG_KEY_OF_PAYLOADS: HTTPStatus.SERVICE_UNAVAILABLE,
    WebCode.NO_TOKEN: HTTPStatus.UNAUTHORIZED,
    WebCode.FOREIGN_ORIGIN: HTTPStatus.FORBIDDEN,
    WebCode.READ_ONLY: HTTPStatus.FORBIDDEN,
    WebCode.NO_HISTORY: HTTPStatus.NOT_FOUND,
    WebCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    WebCode.WRONG_METHOD: HTTPStatus.METHOD_NOT_ALLOWED,
}


class WebError(TimelineError):
    """A refusal that only a web server has; ``reason`` says which."""

    def __init__(self, reason: WebCode, message: str, *, field: str | None = None) -> None:
        self.reason, self.field = reason, field
        super().__init__(message)


def failure_of(error: TimelineError) -> Failure:
    """What is said about an error."""
    if isinstance(error, WebError):
        return Failure(code=error.reason, message=str(error), field=error.field)
    if not isinstance(error, ExpressionError):
        line, column = (error.place if isinstance(error, MetricError) else None) or (None, None)
        return Failure(code=error.code, message=str(error), line=line, column=column)
    line, column = _place(error)
    return Failure(
        code=error.code,
        message=error.message,
        hint=error.hint or None,
        span=error.span,
        line=line,
        column=column,
    )


def _place(error: ExpressionError) -> tuple[int | None, int | None]:
    """The line and column of the file that the expression stands in, where they can be told."""
    if error.text is None or error.span is None or error.begins is None:
        return None, None
    start = min(error.span[0], len(error.text))
    number = error.text.count("\n", 0, start)
    if number >= len(error.begins):
        return None, None
    line, column = error.begins[number]
    return line, column + start - (error.text.rfind("\n", 0, start) + 1)


def answer(found: Failure) -> JSONResponse:
    """The response that says a failure."""
    status = _STATUS.get(found.code, HTTPStatus.INTERNAL_SERVER_ERROR)
    headers = {"WWW-Authenticate": "Bearer"} if status is HTTPStatus.UNAUTHORIZED else None
    return JSONResponse(found.model_dump(mode="json", exclude_none=True), status, headers)


def add_handlers(app: FastAPI) -> None:
    """Have ``app`` answer with failures."""

    async def of_ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, TimelineError)
        return answer(failure_of(error))

    async def of_the_request(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = [str(part) for part in first["loc"] if part not in ("query", "path", "body")]
        field = ".".join(place) or None
        said = str(first["msg"]).removeprefix("Value error, ")
        return answer(
            Failure(code=Code.WRONG_QUESTION, message=f"{field or 'the request'}: {said}", field=field)
        )

    async def of_the_address(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            found = Failure(
                code=WebCode.WRONG_METHOD, message=f"{request.method} is not taken by {request.url.path}"
            )
            response = answer(found)
            response.headers.update(error.headers or {})
            return response
        if error.status_code == HTTPStatus.NOT_FOUND:
            return answer(
                Failure(
                    code=WebCode.NOT_FOUND,
                    message=f"there is nothing at {request.url.path}",
                    hint="/api/openapi.json lists every address",
                )
            )
        return answer(Failure(code=Code.WRONG_QUESTION, message=str(error.detail)))

    app.add_exception_handler(TimelineError, of_ours)
    app.add_exception_handler(RequestValidationError, of_the_request)
    app.add_exception_handler(HTTPException, of_the_address)
