"""Coming and going: log in, accept an invitation, log out; the own profile with its sessions; light and dark."""

from __future__ import annotations

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.run.config import UserError
from biddable.store import invitations, sessions
from biddable.store.accounts import LEAST_PASSWORD
from biddable.store.sessions import TooManyAttempts
from biddable.web import app as web

pages = web.router()


@pages.get("/login")
def login_page(request: Request, visit: web.Visit) -> Response:
    if visit.account is not None:
        return web.redirect("/")
    return web.page(request, "login.html", wrong=[], name="")


@pages.post("/login")
def login(request: Request, known: web.Known, form: web.Form) -> Response:
    name = str(form.get("name", ""))
    try:
        agent = request.headers.get("user-agent", "")
        token = sessions.log_in(
            known, name, str(form.get("password", "")), web.client_address(request), agent
        )
    except UserError as refusal:
        status = 429 if isinstance(refusal, TooManyAttempts) else 403
        return web.page(request, "login.html", status, wrong=refusal.lines, name=name[:64])
    response = web.redirect("/")
    web.set_session_cookie(request, response, token)
    return response


@pages.post("/logout")
def logout(request: Request, known: web.Known, visit: web.Visit, me: web.Member) -> Response:
    sessions.log_out(known.store, visit.token)
    response = web.redirect("/login")
    web.delete_session_cookie(request, response)
    return response


@pages.get("/invitation/{token}")
def invitation_page(request: Request, known: web.Known, token: str) -> Response:
    return _invitation(request, known, token, [], "")


@pages.post("/invitation/{token}")
def accept(request: Request, known: web.Known, token: str, form: web.Form) -> Response:
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    if password != form.get("again"):
        return _invitation(request, known, token, ["the two passwords differ"], name)
    try:
        account = invitations.accept_invitation(known, token, name, password)
    except UserError as refusal:
        return _invitation(request, known, token, refusal.lines, name)
    session = sessions.log_in(
        known, account.login, password, web.client_address(request), request.headers.get("user-agent", "")
    )
    response = web.redirect("/")
    web.set_session_cookie(request, response, session)
    return response


def _invitation(request: Request, known: web.Known, token: str, wrong: list[str], name: str) -> Response:
    found = invitations.find_invitation(known.store, token)
    if found is None:
        raise HTTPException(404, "This invitation was used, taken back, or is too old. Ask for another one.")
    status = 400 if wrong else 200
    return web.page(
        request,
        "invitation.html",
        status,
        invitation=found,
        wrong=wrong,
        name=name[:64],
        least=LEAST_PASSWORD,
    )


@pages.get("/profile")
def profile(request: Request, known: web.Known, me: web.Member) -> Response:
    return _profile(request, known, me, [])


def _profile(request: Request, known: web.Known, me: web.Member, wrong: list[str]) -> Response:
    browsers = sessions.list_sessions(known.store, me.id)
    return web.page(
        request, "profile.html", 400 if wrong else 200, sessions=browsers, wrong=wrong, least=LEAST_PASSWORD
    )


@pages.post("/profile/password")
def change_password(request: Request, known: web.Known, me: web.Member, form: web.Form) -> Response:
    new = str(form.get("password", ""))
    try:
        if new != form.get("again"):
            raise UserError("the two new passwords differ")
        known.change_password(me, str(form.get("old", "")), new)
    except UserError as refusal:
        return _profile(request, known, me, refusal.lines)
    return web.redirect("/login")


@pages.post("/profile/sessions")
def end_sessions(known: web.Known, me: web.Member, form: web.Form) -> Response:
    """End one session of one's own, or all."""
    which = form.get("session")
    sessions.revoke_sessions(known.store, me.id, str(which) if which else None, me.id)
    return web.redirect("/profile")


@pages.post("/theme")
def theme(request: Request, visit: web.Visit, form: web.Form) -> Response:
    """Remember light or dark in this browser."""
    chosen = form.get("theme")
    response = web.redirect("/profile" if visit.account else "/login")
    if chosen in ("light", "dark"):
        response.set_cookie(
            "theme", str(chosen), max_age=31536000, samesite="lax", secure=request.app.state.https
        )
    else:
        response.delete_cookie("theme")
    return response


@pages.post("/keys")
def keys(request: Request, me: web.Member, form: web.Form) -> Response:
    """Remember in this browser whether single keys do something: who speaks to the computer, or shakes, may want them off (WCAG 2.1.4)."""
    response = web.redirect("/profile")
    if form.get("keys") == "off":
        response.set_cookie("keys", "off", max_age=31536000, samesite="lax", secure=request.app.state.https)
    else:
        response.delete_cookie("keys")
    return response
