"""Admins' pages on the work as a whole: agreement, progress, gold."""

from __future__ import annotations

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.label.views import quality_data
from biddable.store import drafts
from biddable.store.types import TaskSet
from biddable.web.forms import guarded_router
from biddable.web.pages import render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin")
MAX_BARS = 30
"""Days in a plot of progress."""


def choose(task_sets: list[TaskSet], name: str) -> list[TaskSet]:
    """The sets that a page is about: the one of this name, or all for "". Raises 404 for a name that is not
    among them."""
    chosen = [task_set for task_set in task_sets if name in ("", task_set.name)]
    if name and not chosen:
        raise HTTPException(404)
    return chosen


@router.get("/agreement")
def agreement(request: Request, accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    from biddable.label.views import agreement_tables  # here: numpy loads slowly, and no labeler needs it

    store = accounts.store
    task_sets = quality_data.sets_of(store, quality_data.kinds_with_agreement(store))
    chosen = choose(task_sets, set)
    tables = agreement_tables.ranking_tables(agreement_tables.rankings(store, chosen))
    tables += agreement_tables.rating_tables(store, chosen)
    simulated = any(task_set.simulated for task_set in chosen)
    return render(request, "agreement.html", sets=task_sets, chosen=set, tables=tables, simulated=simulated)


@router.get("/progress")
def progress(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    store = accounts.store
    task_sets = [task_set for task_set in store.task_sets() if not task_set.everybody]
    rows = [
        (quality_data.progress(store, task_set), drafts.list_skips(store, task_set.name))
        for task_set in task_sets
    ]
    return render(request, "progress.html", rows=rows, max_bars=MAX_BARS)


@router.get("/gold")
def gold(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    task_sets = [task_set for task_set in accounts.store.task_sets() if task_set.gold is not None]
    rows = [(task_set, quality_data.gold(accounts.store, task_set)) for task_set in task_sets]
    return render(request, "gold.html", sets=rows)
