"""Logging in and out, and accepting an invitation."""

from __future__ import annotations

from fastapi import HTTPException, Request
from itsdangerous import BadSignature, TimestampSigner
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
    Visitor,
    client_address,
    delete_session_cookie,
    set_session_cookie,
)

router = guarded_router()
CODE_SECONDS = 300
"""How long after the password a code may be sent."""
MAX_SHOWN_NAME = 64
"""Characters of a refused name that the page repeats."""


@router.get("/login")
def login_page(request: Request, visitor: Visit, changed: bool = False) -> Response:
    """`changed`: another password was set just now."""
    if visitor.account is not None:
        return redirect("/")
    return render(request, "login.html", errors=[], name="", changed=changed)


@router.post("/login")
def login(request: Request, accounts: SiteAccounts, visitor: Visit, form: Form) -> Response:
    """Check name and password. The browser gets a new cookie, so that one planted in it beforehand is worth
    nothing."""
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    try:
        return _start_session(request, accounts, name, password)
    except sessions.CodeNeeded as needed:
        return _render_code(request, _signer(request, visitor).sign(needed.account).decode(), [])
    except UserError as error:
        status = 429 if isinstance(error, TooManyAttempts) else 403
        return render(
            request, "login.html", status, errors=error.lines, name=name[:MAX_SHOWN_NAME], changed=False
        )


@router.post("/login/code")
def login_with_code(request: Request, accounts: SiteAccounts, visitor: Visit, form: Form) -> Response:
    """Check the code of somebody whose password was right a moment ago, in this browser."""
    proof, agent = str(form.get("proof", "")), request.headers.get("user-agent", "")
    try:
        account = _signer(request, visitor).unsign(proof, max_age=CODE_SECONDS).decode()
    except (BadSignature, UnicodeError):
        return render(
            request, "login.html", 403, errors=["that took too long; log in again"], name="", changed=False
        )
    code = str(form.get("code", ""))
    try:
        token = sessions.log_in_with_code(accounts, account, code, client_address(request), agent)
    except UserError as error:
        return _render_code(request, proof, error.lines, 429 if isinstance(error, TooManyAttempts) else 403)
    response = redirect("/")
    set_session_cookie(request, response, token)
    return response


def _render_code(request: Request, proof: str, errors: list[str], status: int = 200) -> Response:
    return render(request, "code.html", status, proof=proof, errors=errors)


def _signer(request: Request, visitor: Visitor) -> TimestampSigner:
    """Signs, for this browser, that an account's password was right. A signature is no session: without the code
    it opens nothing."""
    return TimestampSigner(request.app.state.secret, salt=f"password was right {visitor.token}")


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
