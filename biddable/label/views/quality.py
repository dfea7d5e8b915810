"""Admins' pages on the work as a whole: agreement and gold."""

from __future__ import annotations

from fastapi import HTTPException, Request
from starlette.responses import Response

from biddable.label import kinds
from biddable.label.views import quality_data
from biddable.store.types import TaskSet
from biddable.web.csv_file import csv_response
from biddable.web.forms import guarded_router
from biddable.web.pages import render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin")


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
    by_set = quality_data.newest_labels(store, chosen)
    labels = [label for labels_of_set in by_set.values() for label in labels_of_set]
    tables = agreement_tables.ranking_tables(agreement_tables.rankings(labels))
    tables += agreement_tables.rating_tables(labels)
    simulated = any(task_set.simulated for task_set in chosen)
    return render(
        request,
        "agreement.html",
        sets=task_sets,
        titles=kinds.set_titles(task_sets),
        chosen=set,
        tables=tables,
        simulated=simulated,
        newest=quality_data.MAX_ANSWERS,
    )


@router.get("/agreement.csv")
def agreement_file(accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    from biddable.label.views import agreement_tables

    store = accounts.store
    chosen = choose(quality_data.sets_of(store, quality_data.kinds_with_agreement(store)), set)
    by_set = quality_data.newest_labels(store, chosen)
    labels = [label for labels_of_set in by_set.values() for label in labels_of_set]
    tables = agreement_tables.ranking_tables(agreement_tables.rankings(labels))
    tables += agreement_tables.rating_tables(labels)
    header = ("table", "what", "value", "low", "high", "compared", "questions")
    return csv_response(
        "agreement",
        header,
        [(table.title, row.name, *(row.figure or ())) for table in tables for row in table.rows],
    )


@router.get("/gold")
def gold(request: Request, accounts: SiteAccounts, me: Admin) -> Response:
    task_sets = [task_set for task_set in accounts.store.task_sets() if task_set.gold is not None]
    rows = [(task_set, quality_data.gold(accounts.store, task_set)) for task_set in task_sets]
    return render(request, "gold.html", sets=rows, titles=kinds.set_titles(task_sets))


@router.get("/gold.csv")
def gold_file(accounts: SiteAccounts, me: Admin) -> Response:
    sets = [task_set for task_set in accounts.store.task_sets() if task_set.gold is not None]
    rows = [
        (task_set.name, score) for task_set in sets for score in quality_data.gold(accounts.store, task_set)
    ]
    return csv_response(
        "gold",
        ("set", "pseudonym", "answered", "score"),
        [(name, score.pseudonym, score.answered, score.score) for name, score in rows],
    )
