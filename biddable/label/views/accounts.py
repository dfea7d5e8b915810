"""Admins' pages: people and invitations, and the log of what admins did."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from biddable.run.config import UserError
from biddable.store import audit, invitations, sessions
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin")


@router.get("")
def people(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    return _people(request, accounts, None)


def _people(request: Request, accounts: SiteAccounts, link: str | None) -> Response:
    open_ = [
        one
        for one in invitations.list_invitations(accounts.store)
        if not one.used and one.expires_at > accounts.store.clock()
    ]
    return render(request, "admin.html", accounts=accounts.all(), invitations=open_, link=link)


@router.post("/invite")
def invite(request: Request, accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Make an invitation; its link is shown this once."""
    role, panel = form.get("role"), form.get("panel")
    if role not in ("admin", "labeler") or panel not in ("training", "held_out"):
        raise UserError("a role (admin or labeler) and a panel (training or held_out) were expected")
    token = invitations.invite(accounts.store, me.id, role, panel, str(form.get("note", "")))  # type: ignore[arg-type]
    begin = request.app.state.address or str(request.base_url).rstrip("/")
    return _people(request, accounts, f"{begin}/invitation/{token}")


@router.post("/withdraw")
def withdraw(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    invitations.withdraw_invitation(accounts.store, str(form.get("invitation", "")), me.id)
    return redirect("/admin")


@router.post("/account")
def account(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Close an account, open it again, or end its sessions."""
    which, action = str(form.get("account", "")), form.get("action")
    if action == "close":
        if which == me.id:
            raise UserError("you cannot close your own account: ask another admin")
        accounts.close(which, me.id)
    elif action == "reopen":
        accounts.reopen(which, me.id)
    elif action == "revoke":
        sessions.revoke_sessions(accounts.store, which, None, me.id)
    else:
        raise UserError("close, reopen or revoke was expected")
    return redirect("/admin")


@router.get("/log")
def log(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    return render(request, "log.html", lines=audit.audit_log(accounts.store))
