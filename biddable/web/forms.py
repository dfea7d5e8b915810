"""Forms: their fields, and the token without which none is accepted (against cross-site request forgery)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.datastructures import FormData

from biddable.web.sessions import Visit, Visitor

MAX_BODY_BYTES = 1 << 20
"""The largest request body, unless a path has a limit of its own."""


async def _read_form(request: Request) -> FormData:
    return await request.form(max_files=4, max_fields=2000, max_part_size=MAX_BODY_BYTES)


Form = Annotated[FormData, Depends(_read_form)]
"""The fields of the form that was sent."""


def form_token(request: Request, visitor: Visitor) -> str:
    """The token that a form must send along. It belongs to this browser's cookie: one made for another
    session is refused."""
    return hmac.new(request.app.state.secret, b"form " + visitor.token.encode(), hashlib.sha256).hexdigest()


async def check_form_token(request: Request, visitor: Visit) -> None:
    """Refuse, with status 403, what another site made the browser send: a change needs the token that only
    our own pages hold. Scripts send it as the header X-Form-Token."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    token = request.headers.get("x-form-token") or str((await _read_form(request)).get("token", ""))
    # compare_digest takes as long for a nearly right token as for any other: it cannot be guessed byte by
    # byte.
    matches = hmac.compare_digest(token.encode(), form_token(request, visitor).encode())
    if visitor.is_new or not matches:
        raise HTTPException(
            403,
            "This form is too old or came from another site. Go back, load the page again, and send it once "
            "more.",
        )


def guarded_router(prefix: str = "") -> APIRouter:
    """A router whose endpoints refuse forged requests (`check_form_token`). Every router of a site is made
    here."""
    return APIRouter(prefix=prefix, dependencies=[Depends(check_form_token)])
