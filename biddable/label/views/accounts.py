"""Admins' pages: people and invitations, and the log of what admins did."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from biddable.run.config import UserError
from biddable.store import audit, invitations, sessions
from biddable.web import app as web

pages = web.router(prefix="/admin")


@pages.get("")
def people(request: Request, known: web.Known, me: web.Admin) -> Response:
    return _people(request, known, None)


def _people(request: Request, known: web.Known, link: str | None) -> Response:
    open_ = [
        one
        for one in invitations.list_invitations(known.store)
        if not one.used and one.expires_at > known.store.clock()
    ]
    return web.page(request, "admin.html", accounts=known.all(), invitations=open_, link=link)


@pages.post("/invite")
def invite(request: Request, known: web.Known, me: web.Admin, form: web.Form) -> Response:
    """Make an invitation; its link is shown this once."""
    role, panel = form.get("role"), form.get("panel")
    if role not in ("admin", "labeler") or panel not in ("training", "held_out"):
        raise UserError("a role (admin or labeler) and a panel (training or held_out) were expected")
    token = invitations.invite(known.store, me.id, role, panel, str(form.get("note", "")))  # type: ignore[arg-type]
    begin = request.app.state.address or str(request.base_url).rstrip("/")
    return _people(request, known, f"{begin}/invitation/{token}")


@pages.post("/withdraw")
def withdraw(known: web.Known, me: web.Admin, form: web.Form) -> Response:
    invitations.withdraw_invitation(known.store, str(form.get("invitation", "")), me.id)
    return web.redirect("/admin")


@pages.post("/account")
def account(known: web.Known, me: web.Admin, form: web.Form) -> Response:
    """Close an account, open it again, or end its sessions."""
    which, action = str(form.get("account", "")), form.get("action")
    if action == "close":
        if which == me.id:
            raise UserError("you cannot close your own account: ask another admin")
        known.close(which, me.id)
    elif action == "reopen":
        known.reopen(which, me.id)
    elif action == "revoke":
        sessions.revoke_sessions(known.store, which, None, me.id)
    else:
        raise UserError("close, reopen or revoke was expected")
    return web.redirect("/admin")


@pages.get("/log")
def log(request: Request, known: web.Known, me: web.Admin) -> Response:
    return web.page(request, "log.html", lines=audit.audit_log(known.store))
