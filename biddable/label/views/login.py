"""Logging in and out, and accepting an invitation."""

from __future__ import annotations

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.run.config import UserError
from biddable.store import invitations, password_resets, sessions
from biddable.store.accounts import LEAST_PASSWORD
from biddable.store.login_attempts import TooManyAttempts
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import (
    Member,
    SiteAccounts,
    Visit,
    client_address,
    delete_session_cookie,
    set_session_cookie,
)

router = guarded_router()
MAX_SHOWN_NAME = 64
"""Characters of a refused name that the page repeats."""


@router.get("/login")
def login_page(request: Request, visitor: Visit, changed: bool = False) -> Response:
    """`changed`: another password was set just now."""
    if visitor.account is not None:
        return redirect("/")
    return render(request, "login.html", errors=[], name="", changed=changed)


@router.post("/login")
def login(request: Request, accounts: SiteAccounts, form: Form) -> Response:
    """Check name and password. The browser gets a new cookie, so that one planted in it beforehand is worth
    nothing."""
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    try:
        return _start_session(request, accounts, name, password)
    except UserError as error:
        status = 429 if isinstance(error, TooManyAttempts) else 403
        return render(
            request, "login.html", status, errors=error.lines, name=name[:MAX_SHOWN_NAME], changed=False
        )


def _start_session(request: Request, accounts: SiteAccounts, name: str, password: str) -> Response:
    agent = request.headers.get("user-agent", "")
    token = sessions.log_in(accounts, name, password, client_address(request), agent)
    response = redirect("/")
    set_session_cookie(request, response, token)
    return response


@router.post("/logout")
def logout(request: Request, accounts: SiteAccounts, visitor: Visit, me: Member) -> Response:
    sessions.log_out(accounts.store, visitor.token)
    response = redirect("/login")
    delete_session_cookie(request, response)
    return response


@router.get("/invitation/{token}")
def invitation_page(request: Request, accounts: SiteAccounts, token: str) -> Response:
    return _render_invitation(request, accounts, token, [], "")


@router.post("/invitation/{token}")
def accept_invitation(request: Request, accounts: SiteAccounts, token: str, form: Form) -> Response:
    """Make the account that the invitation promises, and log in with it."""
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    if password != form.get("again"):
        return _render_invitation(request, accounts, token, ["the two passwords differ"], name)
    try:
        account = invitations.accept_invitation(accounts, token, name, password)
    except UserError as error:
        return _render_invitation(request, accounts, token, error.lines, name)
    return _start_session(request, accounts, account.login, password)


def _render_invitation(
    request: Request, accounts: SiteAccounts, token: str, errors: list[str], name: str
) -> Response:
    invitation = invitations.find_invitation(accounts.store, token)
    if invitation is None:
        raise HTTPException(404, "This invitation was used, taken back, or is too old. Ask for another one.")
    return render(
        request,
        "invitation.html",
        400 if errors else 200,
        invitation=invitation,
        errors=errors,
        name=name[:MAX_SHOWN_NAME],
        min_password=LEAST_PASSWORD,
    )


@router.get("/password/{token}")
def password_page(request: Request, accounts: SiteAccounts, token: str) -> Response:
    return _render_password(request, accounts, token, [])


@router.post("/password/{token}")
def set_password(request: Request, accounts: SiteAccounts, token: str, form: Form) -> Response:
    """Set another password by an admin's link. Whoever has it still logs in as usual."""
    password = str(form.get("password", ""))
    if password != form.get("again"):
        return _render_password(request, accounts, token, ["the two passwords differ"])
    try:
        password_resets.reset_password(accounts, token, password)
    except UserError as error:
        return _render_password(request, accounts, token, error.lines)
    return redirect("/login?changed=1")


def _render_password(request: Request, accounts: SiteAccounts, token: str, errors: list[str]) -> Response:
    account = password_resets.find_reset(accounts.store, token)
    if account is None:
        raise HTTPException(404, "This link was used, or is too old. Ask for another one.")
    return render(
        request,
        "password.html",
        400 if errors else 200,
        login=account.login,
        errors=errors,
        min_password=LEAST_PASSWORD,
    )
