"""A person's own profile: where they are logged in, their password, and what this browser remembers (colours,
single keys)."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from biddable.run.config import UserError
from biddable.store import sessions
from biddable.store.accounts import LEAST_PASSWORD
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Member, SiteAccounts, Visit

router = guarded_router()
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrom", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
"""Marks in a user agent, the more specific ones first: most browsers name themselves after others as well."""
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "a Mac"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
YEAR_SECONDS = 365 * 86400
"""How long a browser remembers colours and keys."""


@router.get("/profile")
def profile(request: Request, accounts: SiteAccounts, me: Member) -> Response:
    return _render_profile(request, accounts, me, [])


def _render_profile(request: Request, accounts: SiteAccounts, me: Member, errors: list[str]) -> Response:
    return render(
        request,
        "profile.html",
        400 if errors else 200,
        sessions=[
            (session, describe_browser(session.agent))
            for session in sessions.list_sessions(accounts.store, me.id)
        ],
        errors=errors,
        min_password=LEAST_PASSWORD,
    )


def describe_browser(agent: str) -> str:
    """A browser's user agent in words, such as Chrome on Linux."""
    browser = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    return " on ".join(filter(None, [browser or "Another browser", system]))


@router.post("/profile/password")
def change_password(request: Request, accounts: SiteAccounts, me: Member, form: Form) -> Response:
    """Set another password. It ends all sessions, this one too: whoever knew the old one is out."""
    password = str(form.get("password", ""))
    try:
        if password != form.get("again"):
            raise UserError("the two new passwords differ")
        accounts.change_password(me, str(form.get("old", "")), password)
    except UserError as error:
        return _render_profile(request, accounts, me, error.lines)
    return redirect("/login?changed=1")


@router.post("/profile/sessions")
def revoke_own_sessions(accounts: SiteAccounts, me: Member, form: Form) -> Response:
    """End one of one's own sessions, or all of them."""
    session = form.get("session")
    sessions.revoke_sessions(accounts.store, me.id, str(session) if session else None, me.id)
    return redirect("/profile")


@router.post("/theme")
def set_theme(request: Request, visitor: Visit, form: Form) -> Response:
    """Remember light or dark in this browser; neither: as the system has it."""
    response = redirect("/profile" if visitor.account else "/login")
    _remember(request, response, "theme", str(form.get("theme")), ("light", "dark"))
    return response


@router.post("/keys")
def set_single_keys(request: Request, me: Member, form: Form) -> Response:
    """Remember in this browser whether single keys do something. People who dictate to their computer, or
    whose hands shake, may want them off (WCAG 2.1.4)."""
    response = redirect("/profile")
    _remember(request, response, "keys", str(form.get("keys")), ("off",))
    return response


def _remember(
    request: Request, response: Response, cookie: str, value: str, choices: tuple[str, ...]
) -> None:
    """Keep one of the choices in a cookie. Any other value is the default: the cookie goes."""
    if value in choices:
        response.set_cookie(
            cookie, value, max_age=YEAR_SECONDS, samesite="lax", secure=request.app.state.https
        )
    else:
        response.delete_cookie(cookie)
