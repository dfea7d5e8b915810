"""The lead's dashboard: how far each set is, what each person does and how well, where people differ; a page
for each set and person; the same tables as CSV files."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastapi import HTTPException, Request
from markupsafe import Markup
from starlette.responses import Response

from biddable.label import kinds
from biddable.label.views import markup, quality_data
from biddable.label.views.quality import choose
from biddable.store import assignments, drafts, work_limits
from biddable.store.accounts import Accounts
from biddable.store.store import Store
from biddable.store.types import Account, TaskSet
from biddable.store.work_days import WorkDay, day_of, list_work
from biddable.web.csv_file import csv_response, utc
from biddable.web.forms import guarded_router
from biddable.web.pages import render
from biddable.web.sessions import Admin, SiteAccounts

router = guarded_router(prefix="/admin")
PERIODS = {7: "7 days", 14: "14 days", 30: "30 days", 90: "90 days", 0: "the whole time"}
CHART_DAYS = 14
MAX_DISPUTES = 10
"""Tasks that people differ on, on the dashboard; the review has more."""
MAX_ROWS = 100
"""Rows of a table on a page; its CSV file has all."""


class Scope(NamedTuple):
    """What a page is about: sets, people and days."""

    task_sets: list[TaskSet]  # real people's; simulated people's where there are no others
    titles: dict[str, str]
    chosen: list[TaskSet]
    work: list[WorkDay]


def _scope(store: Store, name: str = "", days: int = CHART_DAYS, person: str | None = None) -> Scope:
    """Raises 404 for an unknown set or period."""
    if days not in PERIODS:
        raise HTTPException(404)
    every_set = [task_set for task_set in store.task_sets() if not task_set.everybody]
    task_sets = [task_set for task_set in every_set if not task_set.simulated] or every_set
    chosen = choose(task_sets, name)
    since = day_of(store.clock()) - days + 1 if days else 0
    names = None if not name else [name] + [row.gold for row in chosen if row.gold is not None]
    work = list_work(store, since=since, task_sets=names, person=person)
    return Scope(task_sets, kinds.set_titles(every_set), chosen, work)


@router.get("/dashboard")
def dashboard(
    request: Request, accounts: SiteAccounts, me: Admin, set: str = "", days: int = CHART_DAYS
) -> Response:
    from biddable.label.views import dashboard_data  # here: numpy loads slowly, and no labeler needs it

    store = accounts.store
    scope = _scope(store, set, days)
    labels = quality_data.newest_labels(store, scope.chosen, dashboard_data.NEWEST_OF_SET)
    disputes = [
        (name, row)
        for name, row in quality_data.disputes(store, labels)
        if not row.state and row.distance > 0
    ]
    return render(
        request,
        "dashboard.html",
        sets=scope.task_sets,
        titles=scope.titles,
        chosen=set,
        days=days,
        periods=PERIODS,
        rows=dashboard_data.set_rows(store, scope.chosen, scope.titles),
        paused={limit.person or limit.task_set for limit in work_limits.pauses(store)},
        people=dashboard_data.person_rows(store, scope.chosen, scope.work, accounts.all(), labels),
        chart=dashboard_data.chart_days(scope.work, store.clock(), min(days or CHART_DAYS, CHART_DAYS)),
        disputes=[
            (name, dispute, first_line(store, dispute.task)) for name, dispute in disputes[:MAX_DISPUTES]
        ],
        newest=dashboard_data.NEWEST_OF_SET,
    )


def first_line(store: Store, task: str) -> Markup:
    """What a task asks, in one line: the last turn of its prompt, or what takes a prompt's place."""
    return markup.line(first_line_text(store, task))


def first_line_text(store: Store, task: str) -> str:
    """The text that `first_line` shows the beginning of."""
    name, question = store.question(task)
    kind = kinds.find(name)
    if kind is None:
        raise HTTPException(404)
    _, text = kind.view(kind.task(question)).turns[-1]
    return text


@router.get("/set")
def set_page(request: Request, accounts: SiteAccounts, me: Admin, name: str) -> Response:
    """One set: how far it is, who did what in it, what was given back."""
    from biddable.label.views import dashboard_data

    store = accounts.store
    scope = _scope(store, name, 0)
    if not name:
        raise HTTPException(404)
    (row,) = dashboard_data.set_rows(store, scope.chosen, scope.titles)
    skips = drafts.list_skips(store, name)
    labels = quality_data.newest_labels(store, scope.chosen, dashboard_data.NEWEST_OF_SET)
    people = dashboard_data.person_rows(store, scope.chosen, scope.work, accounts.all(), labels)
    return render(
        request,
        "set.html",
        row=row,
        pauses=[limit for limit in work_limits.pauses(store) if limit.task_set == name and not limit.person],
        chart=dashboard_data.chart_days(scope.work, store.clock(), CHART_DAYS),
        people=[person for person in people if person.answers or person.skips],
        skips=[(skip, first_line(store, skip.task)) for skip in skips[:MAX_ROWS]],
        more_skips=max(0, len(skips) - MAX_ROWS),
    )


def find_account(accounts: Accounts, pseudonym: str) -> Account:
    """Whose pseudonym this is. Raises 404 for nobody's."""
    account = next((row for row in accounts.all() if row.person.pseudonym == pseudonym), None)
    if account is None:
        raise HTTPException(404)
    return account


@router.get("/person")
def person_page(request: Request, accounts: SiteAccounts, me: Admin, name: str) -> Response:
    """One person: work by day and set, figures, and the newest answers."""
    from biddable.label.views import dashboard_data

    store, account = accounts.store, find_account(accounts, name)
    scope = _scope(store, "", 0, account.person.id)
    own_sets = [row for row in scope.task_sets if row.panel == account.person.panel]
    everybody = [row for row in accounts.all() if row.person.panel == account.person.panel]
    labels = quality_data.newest_labels(store, own_sets, dashboard_data.NEWEST_OF_SET)
    rows = dashboard_data.person_rows(store, own_sets, scope.work, everybody, labels)
    answers = assignments.past_answers(store, account.person.id, MAX_ROWS)
    return render(
        request,
        "person.html",
        pauses=[
            limit
            for limit in work_limits.pauses(store)
            if limit.person == account.person.id and not limit.task_set
        ],
        person=next(row for row in rows if row.account.id == account.id),
        chart=dashboard_data.chart_days(scope.work, store.clock(), CHART_DAYS),
        work=scope.work[: -MAX_ROWS - 1 : -1],
        more_work=max(0, len(scope.work) - MAX_ROWS),
        titles=_titles_with_gold(scope),
        answers=[(answer, first_line(store, answer.task)) for answer in answers if kinds.find(answer.kind)],
        gold_tasks=_gold_tasks(store, rows, account),
    )


def _titles_with_gold(scope: Scope) -> dict[str, str]:
    """The sets' titles; gold is called like the set that it is mixed into."""
    titles = dict(scope.titles)
    for row in scope.task_sets:
        if row.gold is not None:
            titles[row.gold] = f"{titles[row.name]}, gold"
    return titles


def _gold_tasks(store: Store, rows: list[Any], account: Account) -> list[tuple[str, float, Markup]]:
    """The gold tasks on which somebody is furthest off: task, score, what it asks."""
    gold = next((row.gold for row in rows if row.account.id == account.id), None)
    return [
        (task, score, first_line(store, task)) for task, score in (gold.worst if gold else []) if score < 1
    ]


@router.get("/hours.csv")
def hours_file(accounts: SiteAccounts, me: Admin, set: str = "", days: int = 0, name: str = "") -> Response:
    """Hours by person, day and set: what pay is reckoned from."""
    person = find_account(accounts, name) if name else None
    scope = _scope(accounts.store, set, days, person.person.id if person else None)
    logins = {account.person.id: account.login for account in accounts.all()}
    titles = _titles_with_gold(scope)
    header = ("name", "pseudonym", "day", "set", "title", "answers", "corrections", "skips", "hours")
    return csv_response(
        "hours",
        (*header, "answers_without_time"),
        [
            (
                logins.get(row.person, ""),
                row.pseudonym,
                row.date,
                row.task_set,
                titles.get(row.task_set, ""),
                row.answers,
                row.corrections,
                row.skips,
                row.seconds / 3600,
                row.unmeasured,
            )
            for row in scope.work
        ],
    )


@router.get("/people.csv")
def people_file(accounts: SiteAccounts, me: Admin, set: str = "", days: int = CHART_DAYS) -> Response:
    """The dashboard's table of people."""
    from biddable.label.views import dashboard_data

    scope = _scope(accounts.store, set, days)
    header = (
        *("name", "pseudonym", "role", "panel", "closed", "answers", "corrections", "skips", "hours"),
        *("answers_without_time", "median_seconds", "pace", "hurried", "outlier", "gold_answers"),
        *("gold_score", "agreement", "agreement_low", "agreement_high", "agreement_pairs", "last_answer"),
    )
    labels = quality_data.newest_labels(accounts.store, scope.chosen, dashboard_data.NEWEST_OF_SET)
    rows = dashboard_data.person_rows(accounts.store, scope.chosen, scope.work, accounts.all(), labels)
    return csv_response("people", header, [_person_cells(row) for row in rows])


def _person_cells(row: Any) -> list[str | int | float | None]:
    account, pace, gold, alike = row.account, row.pace, row.gold, row.agreement
    return [
        *(account.login, account.person.pseudonym, account.role, account.person.panel),
        "yes" if account.closed else "no",
        *(row.answers, row.corrections, row.skips, row.hours, row.unmeasured),
        *((pace.seconds, pace.ratio, pace.hurried, pace.outlier) if pace else (None,) * 4),
        *((gold.answered, gold.score) if gold else (None,) * 2),
        *((alike.value, alike.low, alike.high, alike.number) if alike else (None,) * 4),
        utc(row.last_answer),
    ]


@router.get("/sets.csv")
def sets_file(accounts: SiteAccounts, me: Admin) -> Response:
    """The dashboard's table of sets."""
    from biddable.label.views import dashboard_data

    scope = _scope(accounts.store)
    header = ("set", "title", "panel", "needed", "done", "in_work", "open", "sent_back", "hours")
    rows = dashboard_data.set_rows(accounts.store, scope.chosen, scope.titles)
    return csv_response(
        "sets",
        (*header, "days_left", "days_left_low", "days_left_high"),
        [
            (
                *(row.task_set.name, row.title, row.task_set.panel, row.needed, row.answered, row.leased),
                *(row.open, row.returned, row.hours),
                *(row.forecast or (None,) * 3),
            )
            for row in rows
        ],
    )


@router.get("/skips.csv")
def skips_file(accounts: SiteAccounts, me: Admin, set: str = "") -> Response:
    """Tasks that people skipped or reported."""
    chosen = choose(accounts.store.task_sets(), set)
    rows = [(row.name, skip) for row in chosen for skip in drafts.list_skips(accounts.store, row.name)]
    header = ("set", "task", "pseudonym", "reported", "reason", "at")
    return csv_response(
        "skips",
        header,
        [
            (name, skip.task, skip.pseudonym, "yes" if skip.flag else "no", skip.reason, utc(skip.created))
            for name, skip in rows
        ],
    )
