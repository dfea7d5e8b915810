"""Coming and going: log in, accept an invitation, log out; the own profile with its sessions; light and dark."""

from __future__ import annotations

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.run.config import UserError
from biddable.store import invitations, sessions
from biddable.store.accounts import LEAST_PASSWORD
from biddable.store.sessions import TooManyAttempts
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


@router.get("/login")
def login_page(request: Request, visitor: Visit) -> Response:
    if visitor.account is not None:
        return redirect("/")
    return render(request, "login.html", errors=[], name="")


@router.post("/login")
def login(request: Request, accounts: SiteAccounts, form: Form) -> Response:
    name = str(form.get("name", ""))
    try:
        agent = request.headers.get("user-agent", "")
        token = sessions.log_in(accounts, name, str(form.get("password", "")), client_address(request), agent)
    except UserError as error:
        status = 429 if isinstance(error, TooManyAttempts) else 403
        return render(request, "login.html", status, errors=error.lines, name=name[:64])
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
    return _invitation(request, accounts, token, [], "")


@router.post("/invitation/{token}")
def accept(request: Request, accounts: SiteAccounts, token: str, form: Form) -> Response:
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    if password != form.get("again"):
        return _invitation(request, accounts, token, ["the two passwords differ"], name)
    try:
        account = invitations.accept_invitation(accounts, token, name, password)
    except UserError as error:
        return _invitation(request, accounts, token, error.lines, name)
    session = sessions.log_in(
        accounts, account.login, password, client_address(request), request.headers.get("user-agent", "")
    )
    response = redirect("/")
    set_session_cookie(request, response, session)
    return response


def _invitation(
    request: Request, accounts: SiteAccounts, token: str, errors: list[str], name: str
) -> Response:
    found = invitations.find_invitation(accounts.store, token)
    if found is None:
        raise HTTPException(404, "This invitation was used, taken back, or is too old. Ask for another one.")
    status = 400 if errors else 200
    return render(
        request,
        "invitation.html",
        status,
        invitation=found,
        errors=errors,
        name=name[:64],
        least=LEAST_PASSWORD,
    )


@router.get("/profile")
def profile(request: Request, accounts: SiteAccounts, me: Member) -> Response:
    return _profile(request, accounts, me, [])


def _profile(request: Request, accounts: SiteAccounts, me: Member, errors: list[str]) -> Response:
    browsers = sessions.list_sessions(accounts.store, me.id)
    return render(
        request,
        "profile.html",
        400 if errors else 200,
        sessions=browsers,
        errors=errors,
        least=LEAST_PASSWORD,
    )


@router.post("/profile/password")
def change_password(request: Request, accounts: SiteAccounts, me: Member, form: Form) -> Response:
    new = str(form.get("password", ""))
    try:
        if new != form.get("again"):
            raise UserError("the two new passwords differ")
        accounts.change_password(me, str(form.get("old", "")), new)
    except UserError as error:
        return _profile(request, accounts, me, error.lines)
    return redirect("/login")


@router.post("/profile/sessions")
def end_sessions(accounts: SiteAccounts, me: Member, form: Form) -> Response:
    """End one session of one's own, or all."""
    which = form.get("session")
    sessions.revoke_sessions(accounts.store, me.id, str(which) if which else None, me.id)
    return redirect("/profile")


@router.post("/theme")
def theme(request: Request, visitor: Visit, form: Form) -> Response:
    """Remember light or dark in this browser."""
    chosen = form.get("theme")
    response = redirect("/profile" if visitor.account else "/login")
    if chosen in ("light", "dark"):
        response.set_cookie(
            "theme", str(chosen), max_age=31536000, samesite="lax", secure=request.app.state.https
        )
    else:
        response.delete_cookie("theme")
    return response


@router.post("/keys")
def keys(request: Request, me: Member, form: Form) -> Response:
    """Remember in this browser whether single keys do something: who speaks to the computer, or shakes, may want them off (WCAG 2.1.4)."""
    response = redirect("/profile")
    if form.get("keys") == "off":
        response.set_cookie("keys", "off", max_age=31536000, samesite="lax", secure=request.app.state.https)
    else:
        response.delete_cookie("keys")
    return response
