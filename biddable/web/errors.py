"""Errors in plain words: a page for people, JSON for scripts."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from biddable.run.config import UserError
from biddable.store.login_attempts import TooManyAttempts
from biddable.web import pages

MESSAGES = {
    400: ("This did not work", "The page sent something that cannot be understood."),
    401: ("Logged out", "You are not logged in. Log in, and try again."),
    403: ("Not allowed", "You may not do this."),
    404: ("Nothing here", "There is no such page, or it is not yours to see."),
    405: ("Not allowed", "This page cannot be used in that way."),
    413: ("Too long", "What you sent is too large."),
    422: ("This did not work", "The page sent something that cannot be understood."),
    429: ("Please wait", "Too many attempts. Wait a quarter of an hour and try again."),
    500: ("Our mistake", "Something went wrong on our side. What you sent before is kept. Please try again."),
}
"""Heading and sentence for each status."""


def error_page(
    request: Request, status: int, lines: list[str], headers: dict[str, str] | None = None
) -> Response:
    """An error as a page, or as JSON where the request accepts that. No `lines`: the status's own
    sentence."""
    heading, sentence = MESSAGES.get(status, MESSAGES[400])
    lines = lines or [sentence]
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"error": lines}, status, headers=headers)
    response = pages.render(request, "error.html", status, heading=heading, lines=lines)
    response.headers.update(headers or {})
    return response


async def handle_error(request: Request, error: Exception) -> Response:
    """The response to what an endpoint may raise: an HTTPException, a UserError, or a form with missing
    fields."""
    if isinstance(error, UserError):
        status = 429 if isinstance(error, TooManyAttempts) else 400
        return await run_in_threadpool(error_page, request, status, error.lines)
    if not isinstance(error, HTTPException):
        return await run_in_threadpool(error_page, request, 422, [])
    headers = dict(error.headers or {})
    if 300 <= error.status_code < 400:
        return Response(status_code=error.status_code, headers=headers)
    # Starlette fills in the status's phrase ("Not Found") where an endpoint gave no sentence: ours is
    # plainer.
    lines = [] if error.detail == HTTPStatus(error.status_code).phrase else [error.detail]
    return await run_in_threadpool(error_page, request, error.status_code, lines, headers)
