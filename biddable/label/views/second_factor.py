"""The page on which somebody adds a second factor, makes other recovery codes, or removes it."""

from __future__ import annotations

import base64
import io

from fastapi import Request
from itsdangerous import BadSignature, TimestampSigner
from starlette.responses import Response

from biddable.run.config import UserError
from biddable.store import second_factor
from biddable.store.types import Account
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Enrolling, SiteAccounts, Visit, must_have_second_factor

router = guarded_router(prefix="/second-factor")
OFFER_SECONDS = 3600
"""How long a key that the page shows may be confirmed."""


@router.get("")
def second_factor_page(request: Request, accounts: SiteAccounts, me: Enrolling) -> Response:
    return _render(request, accounts, me, [])


def _render(
    request: Request,
    accounts: SiteAccounts,
    me: Account,
    errors: list[str],
    codes: list[str] | None = None,
    secret: str | None = None,
) -> Response:
    """The page: with a key to add, or with what there is. `codes`: recovery codes that were just made. `secret`:
    the key that was offered before; none: another one."""
    secret = secret or second_factor.new_secret()
    return render(
        request,
        "second_factor.html",
        400 if errors else 200,
        errors=errors,
        codes=[f"{code[:4]}-{code[4:8]}-{code[8:12]}-{code[12:]}" for code in codes or ()],
        codes_left=second_factor.recovery_codes_left(accounts.store, me.id),
        required=must_have_second_factor(request, me),
        secret=" ".join(secret[place : place + 4] for place in range(0, len(secret), 4)),
        offer=_signer(request, me).sign(secret).decode(),
        picture=_qr_code(second_factor.secret_address(secret, me.login, request.app.state.title)),
    )


def _qr_code(text: str) -> str:
    """A QR code as an address that holds the picture itself: nobody else is asked for it."""
    import segno

    picture = io.BytesIO()
    segno.make(text, micro=False).save(picture, kind="svg", scale=5, border=4, light="#fff", xmldecl=False)
    return "data:image/svg+xml;base64," + base64.b64encode(picture.getvalue()).decode()


def _signer(request: Request, me: Account) -> TimestampSigner:
    """Signs the key that the page offers: only one that we drew is added."""
    return TimestampSigner(request.app.state.secret, salt=f"second factor {me.id}")


@router.post("/enrol")
def enrol(request: Request, accounts: SiteAccounts, visitor: Visit, me: Enrolling, form: Form) -> Response:
    """Add the second factor that the page offered, once a code shows that the app has it."""
    if me.second_factor:
        raise UserError("there is a second factor already; remove it first")
    try:
        secret = _signer(request, me).unsign(str(form.get("offer", "")), max_age=OFFER_SECONDS).decode()
    except (BadSignature, UnicodeError):
        return _render(request, accounts, me, ["that took too long; let the app read this new picture"])
    try:
        code = str(form.get("code", ""))
        codes = second_factor.enrol(accounts.store, me.id, secret, code, visitor.token)
    except UserError as error:
        return _render(request, accounts, me, error.lines, secret=secret)
    return _render(request, accounts, me, [], codes)


@router.post("/codes")
def make_recovery_codes(request: Request, accounts: SiteAccounts, me: Enrolling, form: Form) -> Response:
    """Other recovery codes, for whoever knows the password."""
    try:
        accounts.confirm_password(me, str(form.get("password", "")))
        codes = second_factor.renew_recovery_codes(accounts.store, me.id)
    except UserError as error:
        return _render(request, accounts, me, error.lines)
    return _render(request, accounts, me, [], codes)


@router.post("/remove")
def remove(request: Request, accounts: SiteAccounts, me: Enrolling, form: Form) -> Response:
    """Remove the second factor, for whoever knows the password, where the site does not ask for one."""
    if must_have_second_factor(request, me):
        raise UserError("this site asks you for a second factor")
    try:
        accounts.confirm_password(me, str(form.get("password", "")))
        second_factor.remove(accounts.store, me.id, me.id)
    except UserError as error:
        return _render(request, accounts, me, error.lines)
    return redirect("/login")
