"""Admins' page on who may work on what, and how much: pauses, quotas, and sets or languages for some people
only."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import FormData
from starlette.responses import Response

from biddable.label import kinds
from biddable.label.views.dashboard import find_account
from biddable.run.config import UserError
from biddable.store import audit, work_limits
from biddable.store.accounts import Accounts
from biddable.store.store import Store
from biddable.store.types import TaskSet
from biddable.web.forms import Form, guarded_router
from biddable.web.pages import redirect, render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin/limits")
MOST_DIGITS = 6
"""Of a quota."""


@router.get("")
def limits_page(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    store = accounts.store
    task_sets = _real_sets(store)
    return render(
        request,
        "limits.html",
        limits=work_limits.list_limits(store),
        assignments=work_limits.list_assignments(store),
        sets=task_sets,
        titles=kinds.set_titles(task_sets),
        people=[account for account in accounts.all() if account.closed is None],
        languages=work_limits.languages(store),
    )


def _real_sets(store: Store) -> list[TaskSet]:
    return [task_set for task_set in store.task_sets() if not task_set.simulated]


def _scope(accounts: Accounts, form: FormData) -> dict[str, str | None]:
    """The person, set and language that a form names; what it leaves open is None."""
    name, task_set, language = (str(form.get(field, "")) or None for field in ("person", "set", "language"))
    if task_set is not None and task_set not in {row.name for row in _real_sets(accounts.store)}:
        raise UserError(f"set: there is none called {task_set[:100]}")
    if language is not None and language not in work_limits.languages(accounts.store):
        raise UserError(f"language: no task is in {language[:20]}")
    person = find_account(accounts, name).person.id if name else None
    return {"person": person, "task_set": task_set, "language": language}


def _spell(scope: dict[str, str | None]) -> str:
    return ", ".join(value for value in scope.values() if value) or "everybody and everything"


@router.post("/add")
def add_limit(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """At most so many answers; a pause is a limit of none."""
    text = str(form.get("most", ""))
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise UserError("most must be a whole number, such as 50; 0 is a pause")
    scope, a_day = _scope(accounts, form), form.get("period") == "day" and int(text) > 0
    work_limits.add_limit(accounts.store, most=int(text), a_day=a_day, **scope)
    action = "paused" if int(text) == 0 else f"at most {text} answers{' a day' if a_day else ''}"
    audit.log_action(accounts.store, me.id, action, _spell(scope))
    return redirect(_back(form))


@router.post("/assign")
def assign(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """Give a set or a language to a person: it goes to nobody else any more."""
    scope = _scope(accounts, form)
    person = scope.pop("person")
    if person is None:
        raise UserError("person: name somebody to whom it is assigned")
    work_limits.assign(accounts.store, person, **scope)
    audit.log_action(accounts.store, me.id, "assigned", _spell(scope | {"person": person}))
    return redirect(_back(form))


@router.post("/remove")
def remove_rule(accounts: SiteAccounts, me: Admin, form: Form) -> Response:
    """End a pause, quota or assignment."""
    work_limits.remove_rule(accounts.store, str(form.get("rule", "")))
    audit.log_action(accounts.store, me.id, "limit or assignment ended", str(form.get("about", ""))[:200])
    return redirect(_back(form))


def _back(form: FormData) -> str:
    """The page whose button was pressed; only pages of admins."""
    page = str(form.get("back", ""))
    return page if page.startswith("/admin/") else "/admin/limits"
