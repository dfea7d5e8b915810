"""Admins' pages on people: accounts and invitations, and the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from fastapi import Request
from starlette.responses import Response

from biddable.run.config import UserError
from biddable.store import audit, invitations, password_resets, second_factor, sessions
from biddable.store.types import Panel, Role
from biddable.web.csv_file import csv_response, utc
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin")
MAX_INVITATIONS = 200
"""Invitations that are made at once."""


@router.get("")
def people(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    return _render_people(request, accounts)


def _render_people(
    request: Request,
    accounts: SiteAccounts,
    link: str | None = None,
    reset_link: str | None = None,
    links: Sequence[tuple[str, str]] = (),
) -> Response:
    """Accounts and open invitations; `link` or `links` (note, link): of the invitations that were just made,
    `reset_link`: of the other password."""
    now = accounts.store.clock()
    open_invitations = [
        invitation
        for invitation in invitations.list_invitations(accounts.store)
        if not invitation.used and invitation.expires_at > now
    ]
    return render(
        request,
        "admin.html",
        accounts=accounts.all(),
        invitations=open_invitations,
        link=link,
        reset_link=reset_link,
        links=links,
    )


def _role(text: object) -> Role:
    if text not in get_args(Role):
        raise UserError("role must be admin or labeler")
    return text  # type: ignore[return-value]


def _panel(text: object) -> Panel:
    if text not in get_args(Panel):
        raise UserError("panel must be training or held_out")
    return text  # type: ignore[return-value]


@router.post("/invite")
def invite(request: Request, accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Make an invitation. Its link is shown this once: the store has only its hash."""
    role, panel = _role(form.get("role")), _panel(form.get("panel"))
    token = invitations.invite(accounts.store, me.id, role, panel, str(form.get("note", "")))
    address = request.app.state.address or str(request.base_url).rstrip("/")
    return _render_people(request, accounts, f"{address}/invitation/{token}")


@router.post("/invite-many")
def invite_many(request: Request, accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """An invitation for each line of notes; the links are shown this once, or come as a CSV file."""
    notes = [line.strip() for line in str(form.get("notes", "")).splitlines() if line.strip()]
    if not 1 <= len(notes) <= MAX_INVITATIONS:
        raise UserError(f"notes: {len(notes)} lines; must be 1 to {MAX_INVITATIONS}, one for each person")
    role, panel = _role(form.get("role")), _panel(form.get("panel"))
    address = request.app.state.address or str(request.base_url).rstrip("/")
    links = [
        (note, f"{address}/invitation/{invitations.invite(accounts.store, me.id, role, panel, note)}")
        for note in notes
    ]
    if form.get("action") == "csv":
        return csv_response("invitations", ("note", "link"), links)
    return _render_people(request, accounts, links=links)


@router.post("/withdraw")
def withdraw_invitation(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    invitations.withdraw_invitation(accounts.store, str(form.get("invitation", "")), me.id)
    return redirect("/admin")


@router.post("/account")
def change_account(request: Request, accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Close an account, open it again, revoke its sessions, remove its second factor, change its role or panel,
    or make a link for another password, which is shown this once."""
    account, action = str(form.get("account", "")), form.get("action")
    if action == "close":
        if account == me.id:
            raise UserError("you cannot close your own account: ask another admin")
        accounts.close(account, me.id)
    elif action == "reopen":
        accounts.reopen(account, me.id)
    elif action == "revoke":
        sessions.revoke_sessions(accounts.store, account, None, me.id)
    elif action == "factor":
        if account == me.id:
            raise UserError("your own second factor is removed in your profile, or by another admin")
        second_factor.remove(accounts.store, account, me.id)
    elif action == "reset":
        token = password_resets.make_reset(accounts.store, account, me.id)
        address = request.app.state.address or str(request.base_url).rstrip("/")
        return _render_people(request, accounts, None, f"{address}/password/{token}")
    elif action == "role":
        accounts.change_role(account, _role(form.get("role")), me.id)
    elif action == "panel":
        accounts.change_panel(account, _panel(form.get("panel")), me.id)
    else:
        raise UserError("action must be close, reopen, revoke, factor, reset, role or panel")
    return redirect("/admin")


@router.get("/log")
def audit_log(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    return render(request, "log.html", lines=audit.audit_log(accounts.store))


@router.get("/log.csv")
def audit_log_file(accounts: SiteAccounts, me: Admin) -> Response:
    rows = audit.audit_log(accounts.store, limit=None)
    return csv_response(
        "log",
        ("at", "name", "action", "about"),
        [(utc(row.at), row.login or "command line", row.action, row.about) for row in rows],
    )


@router.get("/accounts.csv")
def accounts_file(accounts: SiteAccounts, me: Admin) -> Response:
    return csv_response(
        "accounts",
        ("name", "pseudonym", "role", "panel", "since", "closed"),
        [
            (row.login, row.person.pseudonym, row.role, row.person.panel, utc(row.created), utc(row.closed))
            for row in accounts.all()
        ],
    )
