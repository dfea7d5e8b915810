"""Who sends a request: the session cookie, the account it is logged in with, and the parameters of endpoints
that require one.

Sessions themselves are rows of the store: there a login starts one, and `revoke_sessions` ends them.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from itsdangerous import BadSignature, Signer
from starlette.responses import Response

from biddable.store.accounts import Accounts
from biddable.store.sessions import SESSION_SECONDS, session_account
from biddable.store.types import Account


@dataclass(frozen=True)
class Visitor:
    """Who sends a request: the token in the browser's cookie, and the account it is logged in with."""

    token: str
    account: Account | None
    is_new: bool  # the browser does not have this token yet: the response has to set the cookie


def current_visitor(request: Request) -> Visitor:
    """Who sends this request. A cookie without our signature counts as none. Read from the store once a
    request."""
    visitor = getattr(request.state, "visitor", None)
    if visitor is None:
        visitor = request.state.visitor = _read_cookie(request)
    assert isinstance(visitor, Visitor)
    return visitor


def _read_cookie(request: Request) -> Visitor:
    state = request.app.state
    cookie = request.cookies.get(_cookie_name(request), "")
    try:
        token = _signer(request).unsign(cookie).decode()
    except (BadSignature, UnicodeError):
        return Visitor(secrets.token_urlsafe(32), None, is_new=True)
    return Visitor(token, session_account(state.accounts.store, token), is_new=False)


Visit = Annotated[Visitor, Depends(current_visitor)]
"""Anybody, logged in or not."""


async def _require_session(request: Request, visitor: Visit) -> Account:
    if visitor.account is None:
        if "application/json" in request.headers.get("accept", ""):
            raise HTTPException(401)  # a script would take the login page that it is led to for success
        raise HTTPException(303, headers={"location": "/login"})
    return visitor.account


def must_have_second_factor(request: Request, account: Account) -> bool:
    """Whether this site asks for a second factor of somebody."""
    required_of = request.app.state.second_factor
    return required_of == "everybody" or (required_of == "admins" and account.role == "admin")


async def _require_member(
    request: Request, account: Annotated[Account, Depends(_require_session)]
) -> Account:
    if must_have_second_factor(request, account) and not account.second_factor:
        if "application/json" in request.headers.get("accept", ""):
            raise HTTPException(403)
        raise HTTPException(303, headers={"location": "/second-factor"})
    return account


async def _require_admin(account: Annotated[Account, Depends(_require_member)]) -> Account:
    if account.role != "admin":
        raise HTTPException(403)
    return account


Member = Annotated[Account, Depends(_require_member)]
"""Somebody who is logged in; anybody else is sent to the login page, and who lacks a second factor where the site
asks for one, to the page that adds it."""
Enrolling = Annotated[Account, Depends(_require_session)]
"""Somebody who is logged in, also without the second factor that the site asks for."""
Admin = Annotated[Account, Depends(_require_admin)]
"""An admin; other members get status 403."""


async def _site_accounts(request: Request) -> Accounts:
    accounts = request.app.state.accounts
    assert isinstance(accounts, Accounts)
    return accounts


SiteAccounts = Annotated[Accounts, Depends(_site_accounts)]
"""The site's accounts; `accounts.store` is its store."""


def set_session_cookie(
    request: Request, response: Response, token: str, seconds: float | None = SESSION_SECONDS
) -> None:
    """Give the browser its cookie: signed, out of reach of scripts (HttpOnly), and not sent with another
    site's forms (SameSite=Lax).

    `seconds`: how long the browser keeps it; None: until it is closed.
    """
    response.set_cookie(
        _cookie_name(request),
        _signer(request).sign(token).decode(),
        max_age=None if seconds is None else int(seconds),
        httponly=True,
        secure=request.app.state.https,
        samesite="lax",
    )


def delete_session_cookie(request: Request, response: Response) -> None:
    """Make the browser forget its cookie."""
    response.delete_cookie(
        _cookie_name(request), httponly=True, secure=request.app.state.https, samesite="lax"
    )


def client_address(request: Request) -> str:
    """The address a request comes from. Behind a trusted proxy, uvicorn has already put the client's own
    address here."""
    return request.client.host if request.client else "unknown"


def _signer(request: Request) -> Signer:
    return Signer(request.app.state.secret, salt="cookie")


def _cookie_name(request: Request) -> str:
    # The prefix makes browsers refuse the cookie unless it is Secure, for path / and for this host alone.
    return "__Host-biddable" if request.app.state.https else "biddable"
