"""A person's own answers, to be found and corrected, and how much they did on which day."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from biddable.label import kinds
from biddable.label.views.dashboard import first_line
from biddable.label.views.outcome import read_outcome
from biddable.label.views.tasks import task_link
from biddable.store import assignments
from biddable.store.work_days import list_work
from biddable.web.forms import guarded_router
from biddable.web.pages import render
from biddable.web.sessions import Member, SiteAccounts

router = guarded_router()
MAX_ROWS = 100
MAX_DAYS = 31
MAX_SEARCH = 200
"""Characters that are searched for."""


@router.get("/mine")
def own_answers(
    request: Request, accounts: SiteAccounts, me: Member, saved: str = "", q: str = "", set: str = ""
) -> Response:
    """The newest answers, those that hold a text, or those of a set. Gold is listed like the set that it is
    mixed into."""
    store, q = accounts.store, q[:MAX_SEARCH].strip()
    task_sets = [row for row in store.task_sets() if row.panel == me.person.panel and not row.simulated]
    titles = kinds.set_titles(task_sets)
    set_of = {name: row.name for row in task_sets for name in (row.name, row.gold) if name}
    chosen = [name for name, shown in set_of.items() if shown == set] if set else None
    answers = [
        (answer, titles.get(set_of.get(answer.task_set, ""), ""), first_line(store, answer.task))
        for answer in assignments.past_answers(store, me.person.id, MAX_ROWS, text=q, task_sets=chosen)
        if kinds.find(answer.kind) is not None
    ]
    days: dict[str, list[float]] = {}
    for row in list_work(store, person=me.person.id):
        day = days.setdefault(row.date, [0, 0, 0.0, 0])
        for place, number in enumerate((row.answers, row.skips, row.seconds, row.unmeasured)):
            day[place] += number
    return render(
        request,
        "mine.html",
        answers=answers,
        most=MAX_ROWS,
        days=sorted(days.items(), reverse=True)[:MAX_DAYS],
        outcome=read_outcome(store, me, "corrected" if saved else "", saved),
        q=q,
        chosen=set,
        sets=task_sets,
        titles=titles,
        link=task_link,
    )
